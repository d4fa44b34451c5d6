// Node's own server: it closes idle connections after keepAliveTimeout without a word, which is the classic source of 502s.
import { createServer } from "node:http";
import { createHash } from "node:crypto";

const server = createServer((request, response) => {
  let size = 0;
  request.on("data", (chunk) => (size += chunk.length));
  request.on("end", () => {
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify({ method: request.method, host: request.headers.host, size }));
  });
});
server.on("upgrade", (request, socket) => {
  const key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  const accept = createHash("sha1").update(key).digest("base64");
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.on("data", (bytes) => socket.write(bytes));
  socket.on("error", () => {});
});
server.keepAliveTimeout = 20;
server.listen(Number(process.argv[2]), "127.0.0.1");
