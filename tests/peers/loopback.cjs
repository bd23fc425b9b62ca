// Preloaded into servers that would listen on every interface: binds them to loopback.
const { Server } = require("node:net");
const listen = Server.prototype.listen;
Server.prototype.listen = function (port, ...rest) {
  const isPort = typeof port === "number" || /^\d+$/.test(port);
  const hasHost = typeof rest[0] === "string";
  return isPort && !hasHost ? listen.call(this, Number(port), "127.0.0.1", ...rest) : listen.call(this, port, ...rest);
};
