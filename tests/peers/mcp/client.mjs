// The official TypeScript SDKs as clients of the shim: `client.mjs SDK stdio COMMAND ARG…` or
// `client.mjs SDK http URL`, where SDK is `v1` (the package of the legacy era), or `legacy`, `auto` or
// `2026-07-28` (how the present package agrees on the protocol). Prints one JSON object: the version
// agreed on, the tools, and what some calls answered.

import * as v1 from "@modelcontextprotocol/sdk/client/index.js";
import * as v1Stdio from "@modelcontextprotocol/sdk/client/stdio.js";
import * as v1Http from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import * as v2 from "@modelcontextprotocol/client";
import * as v2Stdio from "@modelcontextprotocol/client/stdio";

const CALLS = [
  ["get_server_status", {}],
  ["system_overview", { time_range: "1h" }],
  ["query_metrics", { expr: "vector(1)" }],
  ["export_metrics", { format: "csv" }],
];

const [sdk, kind, target, ...rest] = process.argv.slice(2);
const { Client } = sdk === "v1" ? v1 : v2;
const { StdioClientTransport } = sdk === "v1" ? v1Stdio : v2Stdio;
const { StreamableHTTPClientTransport } = sdk === "v1" ? v1Http : v2;
const mode = sdk === "2026-07-28" ? { pin: sdk } : sdk;
const options = sdk === "v1" ? {} : { versionNegotiation: { mode } };
const transport =
  kind === "http"
    ? new StreamableHTTPClientTransport(new URL(target))
    : new StdioClientTransport({ command: target, args: rest, stderr: "inherit" });

const deadline = setTimeout(() => {
  console.error("no end within a minute");
  process.exit(1);
}, 60_000);

const client = new Client({ name: "balefire-peer", version: "1.0.0" }, options);
await client.connect(transport);
// The era without sessions has no ping.
if (sdk === "v1" || sdk === "legacy") await client.ping();
// The SDK keeps the tools' output schemas, and checks structured content against them.
const { tools } = await client.listTools();
const answers = {};
for (const [name, args] of CALLS) {
  const { isError, content, structuredContent } = await client.callTool({ name, arguments: args });
  answers[name] = { isError: isError ?? false, text: content[0].text, structuredContent };
}
// Before the end, which forgets them.
const server = client.getServerVersion();
const version = client.getNegotiatedProtocolVersion?.();
await client.close();
clearTimeout(deadline);
console.log(JSON.stringify({ server, version, tools, answers }));
