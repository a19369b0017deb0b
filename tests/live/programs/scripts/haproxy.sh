cat > $D/haproxy.cfg <<END
global
  stats socket $D/stats mode 600 level admin expose-fd listeners
defaults
  mode http
  timeout client 1s
  timeout server 1s
  timeout connect 1s
frontend one
  bind 127.0.0.1:$1
frontend two
  bind 127.0.0.1:$2
END
haproxy -f $D/haproxy.cfg -db &
old=$!
until [ -S $D/stats ]; do sleep 0.1; done
haproxy -f $D/haproxy.cfg -db -x $D/stats -sf $old &
new=$!
wait $old || true
kill -USR1 $new
wait $new
