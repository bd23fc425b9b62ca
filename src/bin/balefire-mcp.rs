//! The MCP shim.

fn main() -> std::process::ExitCode {
    balefire::mcp::main()
}
