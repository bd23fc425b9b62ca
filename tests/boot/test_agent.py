"""Users' agents under `systemctl --user`: what is theirs is seen in the service, and stays theirs."""

import json
import re

from harness import eventually
from service import DEB, SOCKET, UNIT, installed

AGENT = "balefire-agent.service"
# A real MCP server over stdio, which looks for no daemon before it is asked something.
SERVER = ["/usr/bin/balefire-mcp", "--socket", "/nowhere"]
CONFIG = f'[[targets]]\nname = "own"\nkind = "mcp"\ncommand = {json.dumps(SERVER)}\n'
CLAUDE = json.dumps({"mcpServers": {"time": {"command": SERVER[0], "args": SERVER[1:], "env": {"API_TOKEN": "hush-hush"}}}})


class User:
    """Somebody with a manager of their own, whether logged in or not."""

    def __init__(self, service, name, groups=("balefire",)):
        self.service, self.guest, self.name = service, service.guest, name
        self.guest.run("useradd", "--create-home", *(["--groups", ",".join(groups)] if groups else []), name)
        # As a unit of the guest: to logind of Debian 13, who comes from outside is nowhere.
        self.guest.run("systemd-run", "--quiet", "--wait", "loginctl", "enable-linger", name)
        self.uid = self.guest.run("id", "-u", name).stdout.strip()
        for place, text in ((".config/balefire/balefire.toml", CONFIG), (".claude.json", CLAUDE)):
            self.guest.write(f"/home/{name}/{place}", text)
        self.guest.run("chown", "-R", f"{name}:", f"/home/{name}")
        self._wait_for_manager()

    def _wait_for_manager(self):
        eventually(f"a manager of {self.name}'s", lambda: self.guest.path(f"/run/user/{self.uid}/bus").exists())

    def run(self, *words, **options):
        return self.guest.run("env", f"XDG_RUNTIME_DIR=/run/user/{self.uid}", *words, user=self.name, **options)

    def agent(self, verb, *words, **options):
        return self.run("systemctl", "--user", verb, AGENT, *words, **options)

    def show(self, name):
        return self.agent("show", f"--property={name}", "--value").stdout.strip()

    def log(self):
        entries = self.guest.journal(f"_SYSTEMD_USER_UNIT={AGENT}", f"_UID={self.uid}")
        return "\n".join(entry["MESSAGE"] for entry in entries if isinstance(entry.get("MESSAGE"), str))

    def log_in_again(self):
        """Groups are those of the manager's start."""
        self.guest.run("systemctl", "restart", f"user@{self.uid}.service")
        self._wait_for_manager()

    def cli(self, *words):
        return self.service.cli(*words, user=self.name)

    def processes(self):
        """The command lines of MCP servers that run as this user."""
        listed = self.guest.run("ps", "-o", "args=", "-u", self.name, check=False).stdout
        return [line for line in listed.splitlines() if line.startswith(SERVER[0])]


def install(service):
    if not DEB:
        service.guest.run("install", "-D", "-m", "644", "/mnt/systemd/balefire-agent.service", f"/usr/lib/systemd/user/{AGENT}")


def target(service, name):
    return next((one for one in service.ask("targets", "list") if one["name"] == name), None)


def await_state(service, name, state):
    def found():
        now = target(service, name)
        return now if now and now["state"] == state else None
    return eventually(f"{name} is {state}", found)


def await_health(service, name, health):
    """The list of targets knows before the store does."""
    eventually(f"the health of {name} is {health}", lambda: service.value(f'mcp_server_health{{server="{name}"}}') == health)


def users_agents_show_their_servers_each_under_its_users_name(suite):
    with installed(suite) as service:
        install(service)
        ada, bob = User(service, "ada"), User(service, "bob")
        for user in (ada, bob):
            user.agent("enable", "--now")
            own = await_state(service, f"{user.name}/own", "healthy")
            assert own["source"].startswith(f"agent of {user.name}: /home/{user.name}/.config/balefire/"), own
            assert (own["kind"], own["transport"]) == ("mcp", "stdio"), own
            await_health(service, own["name"], 1)
            said = user.show("StatusText")
            assert re.fullmatch(rf"\d of \d targets healthy; reports to {SOCKET} as {user.name}", said), said
        listed = service.cli("--output", "json", "targets", "list").stdout
        assert "hush" not in listed, listed

        # Found, and started by nobody before its own user says so.
        assert target(service, "ada/time")["state"] == "unknown"
        for other in (bob.cli("targets", "adopt", "ada/time"), service.cli("targets", "adopt", "ada/time"),
                      bob.cli("targets", "forget", "ada/own")):
            assert other.returncode != 0 and "only ada may" in other.stderr, other
        assert ada.cli("targets", "adopt", "ada/time").returncode == 0
        await_state(service, "ada/time", "healthy")
        assert target(service, "bob/time")["state"] == "unknown"

        # Who claims a name of another's has it below their own.
        service.guest.write("/home/bob/.claude.json", CLAUDE.replace('"time"', '"../ada/time"'))
        bob.agent("reload")
        await_state(service, "bob/../ada/time", "unknown")
        assert target(service, "bob/time") is None
        assert target(service, "ada/time")["source"].startswith("agent of ada"), target(service, "ada/time")

        # One that goes is missed; the other is not touched.
        ada.agent("stop")
        assert ada.show("Result") == "success" and ada.processes() == []
        gone = await_state(service, "ada/own", "unknown")
        assert gone["error"].startswith("stale: the agent of ada has been gone since "), gone
        await_health(service, "ada/own", None)
        assert target(service, "bob/own")["state"] == "healthy"
        service.guest.run("systemctl", "restart", UNIT)
        eventually("the reason is told again", lambda: target(service, "ada/own")["error"] == gone["error"])
        ada.agent("start")
        for name in ("ada/own", "ada/time", "bob/own"):
            await_state(service, name, "healthy")

        # An agent that hangs or dies is started again, by its user's manager.
        ada.agent("kill", "--signal=KILL")
        eventually("the agent is back", lambda: ada.show("NRestarts") == "1" and ada.show("ActiveState") == "active")
        eventually("it reports", lambda: "as ada" in ada.show("StatusText"))
        ada.agent("stop")
        await_state(service, "ada/own", "unknown")
        assert "only ada may" in bob.cli("targets", "forget", "ada/own").stderr
        assert service.cli("targets", "forget", "ada/own").returncode == 0, "an administrator may, once the agent is gone"
        assert target(service, "ada/own") is None


def an_agent_outside_the_group_is_told_how_to_get_in(suite):
    with installed(suite) as service:
        install(service)
        carl = User(service, "carl", groups=())
        carl.agent("start")
        eventually("it says what is wrong", lambda: "waits for the service" in carl.show("StatusText"))
        said = carl.show("StatusText")
        mend = re.search(r"`sudo (usermod -aG balefire) \$USER`", said)
        assert mend and mend[0] in carl.log(), said + carl.log()
        assert target(service, "carl/own") is None
        service.guest.run(*mend[1].split(), "carl")
        carl.log_in_again()
        carl.agent("start")
        await_state(service, "carl/own", "healthy")


CASES = (
    users_agents_show_their_servers_each_under_its_users_name,
    an_agent_outside_the_group_is_told_how_to_get_in,
)
