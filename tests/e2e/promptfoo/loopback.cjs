// Loaded before promptfoo: no address but this machine's, and every other that was tried is told at the end.
"use strict";
const dns = require("node:dns");
const net = require("node:net");

const local = (host) => !host || host === "localhost" || host === "::1" || /^127\./.test(host);
const refuse = (host) => {
  process.stderr.write(`LEFT THIS MACHINE: ${host}\n`);
  return Object.assign(new Error(`not to ${host}`), { code: "ECONNREFUSED" });
};

const lookup = dns.lookup;
dns.lookup = (host, options, done) =>
  local(host) ? lookup(host, options, done) : (done ?? options)(refuse(host));

const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...given) {
  const [first] = Array.isArray(given[0]) ? given[0] : given;
  const host = typeof first === "object" ? first?.host : typeof given[1] === "string" ? given[1] : undefined;
  if (local(host) || first?.path) return connect.apply(this, given);
  process.nextTick(() => this.destroy(refuse(host)));
  return this;
};
