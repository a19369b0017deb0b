ssh-keygen -q -t ed25519 -N "" -f $D/host
ssh-keygen -q -t ed25519 -N "" -f $D/user
mkdir -p /run/sshd
cat > $D/sshd.conf <<END
HostKey $D/host
AuthorizedKeysFile $D/user.pub
PidFile $D/sshd.pid
StrictModes no
UsePAM no
ListenAddress 127.0.0.1
END
# A port that was free a moment ago may be somebody else's by now: then sshd ends, and another is tried.
until [ -s $D/sshd.pid ] && kill -0 $sshd; do
  port=$(python3 -c "
import socket
a = socket.socket(); a.bind((\"127.0.0.1\", 0)); print(a.getsockname()[1])")
  rm -f $D/sshd.pid
  /usr/sbin/sshd -D -f $D/sshd.conf -p $port -E $D/sshd.log &
  sshd=$!
  until [ -s $D/sshd.pid ] || ! kill -0 $sshd; do sleep 0.1; done
done
ssh() { command ssh -F none -i $D/user -p $port -o StrictHostKeyChecking=no \
  -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ControlPath=$D/mux "$@" 127.0.0.1 ; }
# A login of somebody who is not root; what the account runs does not matter.
ssh -o ControlMaster=yes -tt -l nobody </dev/null >/dev/null 2>&1 || true
ssh -o ControlMaster=yes -N -f -l root </dev/null
command ssh -F none -o ControlPath=$D/mux -p $port root@127.0.0.1 true </dev/null
command ssh -F none -o ControlPath=$D/mux -p $port -O exit root@127.0.0.1 2>/dev/null
kill $sshd
wait $sshd || true
