// The official TypeScript SDK as a client of the shim: `client.mjs stdio COMMAND ARG…` or
// `client.mjs http URL`. Prints one JSON object: the tools, and what some calls answered.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const CALLS = [
  ["get_server_status", {}],
  ["system_overview", { time_range: "1h" }],
  ["query_metrics", { expr: "vector(1)" }],
  ["export_metrics", { format: "csv" }],
];

const [kind, target, ...rest] = process.argv.slice(2);
const transport =
  kind === "http"
    ? new StreamableHTTPClientTransport(new URL(target))
    : new StdioClientTransport({ command: target, args: rest, stderr: "inherit" });

const deadline = setTimeout(() => {
  console.error("no end within a minute");
  process.exit(1);
}, 60_000);

const client = new Client({ name: "balefire-peer", version: "1.0.0" });
await client.connect(transport);
await client.ping();
// The SDK keeps the tools' output schemas, and checks structured content against them.
const { tools } = await client.listTools();
const answers = {};
for (const [name, args] of CALLS) {
  const { isError, content, structuredContent } = await client.callTool({ name, arguments: args });
  answers[name] = { isError: isError ?? false, text: content[0].text, structuredContent };
}
await client.close();
clearTimeout(deadline);
console.log(JSON.stringify({ server: client.getServerVersion(), tools, answers }));
