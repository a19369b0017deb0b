tmux -S $D/socket -f /dev/null new-session -d "sleep 60"
tmux -S $D/socket kill-server
