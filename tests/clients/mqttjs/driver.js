"use strict";
// MQTT.js, told what to do over a socket. Each connection to this process is one MQTT client: it sends commands, one
// JSON object a line, and gets an answer to each, and events. Bytes travel as {"base64": "..."} or, payloads, as base64.

const net = require("node:net");
const readline = require("node:readline");
const mqtt = require("mqtt");

const decoded = (_key, value) => (typeof value?.base64 === "string" ? Buffer.from(value.base64, "base64") : value);
const encoded = (_key, value) =>
  value?.type === "Buffer" ? { base64: Buffer.from(value.data).toString("base64") } : value;

function serve(socket) {
  socket.setNoDelay(true);
  let client;
  const acknowledged = new Map(); // packet id to the reason code of the first acknowledgement
  let granted = [];
  let answerChallenge;
  const say = (message) => socket.writable && socket.write(JSON.stringify(message, encoded) + "\n");

  const commands = {
    connect: ({ url, options, authority }) =>
      new Promise((resolve, reject) => {
        client = mqtt.connect(url, { ...options, ca: authority ?? undefined });
        client.handleAuth = ({ properties }, callback) => {
          answerChallenge = callback;
          say({ event: "auth", properties });
        };
        client.once("connect", resolve);
        client.on("error", reject);
        client.on("close", () => reject(new Error("closed without a CONNACK")));
        client.on("close", () => say({ event: "close" }));
        client.on("disconnect", ({ reasonCode }) => say({ event: "disconnect", reason: reasonCode }));
        client.on("packetreceive", ({ cmd, messageId, reasonCode, granted: codes }) => {
          if (cmd === "puback" || cmd === "pubrec") acknowledged.set(messageId, reasonCode ?? 0);
          if (cmd === "suback" || cmd === "unsuback") granted = codes ?? [];
        });
        client.on("message", (topic, payload, { qos, retain, properties }) =>
          say({ event: "message", topic, payload: payload.toString("base64"), qos, retain, properties }),
        );
      }),

    authenticate: async ({ properties }) => {
      answerChallenge(null, { cmd: "auth", reasonCode: 0x18, properties });
      return null;
    },

    // A refused filter is an error to MQTT.js, but here the codes are what was asked for.
    subscribe: ({ topics, options }) =>
      new Promise((resolve, reject) =>
        client.subscribe(topics, options, (error) => (error && !error.packet ? reject(error) : resolve(granted))),
      ),

    unsubscribe: async ({ topic }) => {
      await client.unsubscribeAsync(topic);
      return granted;
    },

    publish: ({ topic, payloads, options }) =>
      Promise.all(
        payloads.map(
          (payload) =>
            new Promise((resolve, reject) => {
              let messageId;
              client.publish(topic, Buffer.from(payload, "base64"), options, (error) =>
                error && !(error.code & 0x80) ? reject(error) : resolve(acknowledged.get(messageId) ?? null),
              );
              if (options.qos) messageId = client.getLastMessageId();
            }),
        ),
      ),

    end: async ({ options }) => {
      await client.endAsync(false, options);
      return null;
    },

    drop: async () => {
      const closed = new Promise((resolve) => client.once("close", resolve));
      client.stream.destroy();
      await closed;
      return null;
    },
  };

  const lines = readline.createInterface({ input: socket });
  lines.on("error", () => {}); // the socket's errors once more; unheard, they would end the process for all clients
  lines.on("line", async (line) => {
    const { id, command, ...rest } = JSON.parse(line, decoded);
    try {
      say({ id, result: await commands[command](rest) });
    } catch (error) {
      say({ id, error: String(error), code: error.code });
    }
  });
  socket.on("error", () => {});
  socket.on("close", () => client?.end(true));
}

const server = net.createServer(serve).listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit(0)).resume(); // whoever started this process is gone
