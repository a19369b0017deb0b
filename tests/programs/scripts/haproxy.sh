cat > $D/haproxy.cfg <<END
global
  stats socket $D/stats mode 600 level admin expose-fd listeners
defaults
  mode http
  timeout client 1s
  timeout server 1s
  timeout connect 1s
frontend one
  bind 127.0.0.1:0
frontend two
  bind 127.0.0.1:0
END
# Ports that are free now, and fixed, so that the successor asks for the same.
ports=$(python3 -c "
import socket
a, b = socket.socket(), socket.socket()
a.bind((\"127.0.0.1\", 0)); b.bind((\"127.0.0.1\", 0))
print(a.getsockname()[1], b.getsockname()[1])")
set -- $ports
sed -i "0,/127.0.0.1:0/s//127.0.0.1:$1/; s/127.0.0.1:0/127.0.0.1:$2/" $D/haproxy.cfg
haproxy -f $D/haproxy.cfg -db &
old=$!
until [ -S $D/stats ]; do sleep 0.1; done
haproxy -f $D/haproxy.cfg -db -x $D/stats -sf $old &
new=$!
wait $old || true
kill -USR1 $new
wait $new
