// A chat on Node's `ws`: what one says goes to all, as it came. No compression: `ws` leaves it off
// by default, as it costs much.
"use strict";

const { WebSocketServer, WebSocket } = require("ws");

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  perMessageDeflate: false,
  backlog: 2048,
  clientTracking: true,
});

server.on("connection", (socket) => {
  socket.on("message", (data) => {
    for (const client of server.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary: false });
    }
  });
  socket.on("error", () => {});
});
