"""An administrator's MCP servers run outside the daemon's sandbox, as a user of their own, and nothing of them is left."""

import json

from harness import eventually
from service import CONFIG, installed

SOCKET = "balefire-spawn.socket"
UNITS = "balefire-spawn@*.service"
USER = "balefire-spawn"
# Like a just-in-time compiler it wants memory to write and execute (mmap, by the kernel's number for it), and is
# a real MCP server afterwards. Every Debian has perl.
JIT = """#!/usr/bin/perl
my $mmap = `uname -m` =~ /x86_64/ ? 9 : 222;
syscall($mmap, 0, 4096, 7, 0x22, -1, 0) != -1 or die "no memory to write and execute: $!\\n";
exec "/usr/bin/balefire-mcp", "--socket", "/nowhere";
"""
WHO = "id >&2; cat /proc/self/cgroup >&2; touch ~/kept && echo home $HOME >&2; touch /var/lib/balefire/x >&2; exit 3"
# One of the two in another session, where no signal to the group reaches it.
LINGERS = "setsid sleep 61.0701 & trap '' TERM; sleep 61.0701"


def target(name, *command, timeout="10s"):
    return f'[[targets]]\nname = "{name}"\nkind = "mcp"\ncommand = {json.dumps(command)}\ntimeout = "{timeout}"\nretries = 0\n'


TARGETS = target("jit", "/usr/local/bin/jit") + target("who", "sh", "-c", WHO)


def set_up(service):
    service.guest.write("/usr/local/bin/jit", JIT)
    service.guest.run("chmod", "755", "/usr/local/bin/jit")


def check(service, name):
    """What a probe of it finds now."""
    service.cli("targets", "check", name)
    return service.reflection().call("TargetsService", "GetTarget", name=name).last_probe


def await_said(service, name, words):
    """A probe that was under way when something changed is joined by the first check after it."""
    eventually(f"a probe of {name} says {words}", lambda: words in (probe := check(service, name)).error + probe.stderr_tail)


def processes(service):
    return service.guest.run("ps", "-o", "args=", "-u", USER, check=False).stdout.splitlines()


def units(service):
    return service.guest.run("systemctl", "list-units", "--all", "--plain", "--no-legend", UNITS).stdout.splitlines()


def await_nothing_left(service):
    eventually("neither process nor unit is left", lambda: not processes(service) and not units(service))


def configured_servers_run_outside_of_the_sandbox(suite):
    with installed(suite) as service:
        set_up(service)
        assert service.guest.run("systemctl", "is-enabled", SOCKET).stdout.strip() == "enabled"
        service.configure(TARGETS)
        service.systemctl("reload")
        jit = check(service, "jit")
        assert not jit.error, jit
        who = check(service, "who")
        said = who.stderr_tail
        assert "exited with status 3" in who.error, who
        assert f"({USER})" in said and "(balefire)" not in said, said
        assert f"/{UNITS.partition('@')[0]}@" in said and "home /var/cache/balefire-spawn" in said, said
        assert "/var/lib/balefire/x" in said and not service.guest.path("/var/lib/balefire/x").exists(), said
        await_nothing_left(service)

        # Inside of the sandbox, it breaks: what the test sees is the sandbox.
        service.configure(f'{TARGETS}[probe]\nspawn_socket = ""\n')
        service.systemctl("reload")
        await_said(service, "jit", "no memory to write and execute")

        service.configure(TARGETS)
        service.systemctl("reload")
        service.guest.run("systemctl", "stop", SOCKET)
        await_said(service, "jit", "`systemctl enable --now balefire-spawn.socket`")


def nothing_is_left_of_servers_when_the_daemon_dies(suite):
    with installed(suite) as service:
        service.configure(target("lingers", "sh", "-c", LINGERS, timeout="60s"))
        service.set(Restart="no")
        service.systemctl("restart")
        eventually("it runs", lambda: sum(line.startswith("sleep") for line in processes(service)) == 2)
        service.guest.run("kill", "-9", str(service.pid()))
        await_nothing_left(service)


def what_others_may_write_is_not_run(suite):
    with installed(suite) as service:
        set_up(service)
        service.configure(TARGETS)
        service.systemctl("reload")
        service.guest.run("chmod", "666", CONFIG)
        await_said(service, "jit", f"`chmod go-w {CONFIG}`")
        told = [entry["MESSAGE"] for entry in service.guest.journal("_COMM=balefired", "--priority=4")]
        assert any("chmod go-w" in line for line in told), told
        service.guest.shell(f"chmod 644 {CONFIG}; chown daemon {CONFIG}")
        await_said(service, "jit", f"`chown root {CONFIG}`")
        service.guest.run("chown", "root", CONFIG)
        assert not check(service, "jit").error
        await_nothing_left(service)


CASES = (
    configured_servers_run_outside_of_the_sandbox,
    nothing_is_left_of_servers_when_the_daemon_dies,
    what_others_may_write_is_not_run,
)
