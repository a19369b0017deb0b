const cluster = require("cluster"), net = require("net");
if (cluster.isMaster) {
  const workers = [cluster.fork(), cluster.fork()];
  let listening = 0, answered = 0;
  cluster.on("listening", (worker, address) => {
    if (++listening < 2) return;
    for (let i = 0; i < 4; i++) {
      net.connect(address.port, "127.0.0.1").on("data", () => {}).on("close", () => {
        if (++answered === 4) workers.forEach((worker) => worker.disconnect());
      });
    }
  });
} else {
  net.createServer((socket) => socket.end("served")).listen(0, "127.0.0.1");
}
