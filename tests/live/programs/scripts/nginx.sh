cat > $D/nginx.conf <<END
daemon off;
worker_processes 3;
pid $D/pid;
error_log $D/error.log;
events { worker_connections 64; }
http { access_log off; client_body_temp_path $D/body; proxy_temp_path $D/proxy;
  fastcgi_temp_path $D/fastcgi; uwsgi_temp_path $D/uwsgi; scgi_temp_path $D/scgi;
  server { listen unix:$D/http; } }
END
nginx -c $D/nginx.conf &
master=$!
# All three are there once each has connections to count.
until [ "$(cat /proc/$master/task/$master/children | wc -w)" = 3 ]; do sleep 0.1; done
kill -QUIT $master
wait $master
