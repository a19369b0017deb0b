cat > $D/bus.conf <<END
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=$D/bus</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/>
<allow own="*"/><allow user="*"/></policy></busconfig>
END
dbus-daemon --config-file=$D/bus.conf --nofork --nopidfile &
bus=$!
trap "kill $bus" EXIT
until [ -S $D/bus ]; do sleep 0.1; done
