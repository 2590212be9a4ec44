"""What a container gets and sees, and what becomes of one when something around it is killed."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from oci_registry import Image, layer_of, registry_of

from kumoi.engines.base import EngineUnavailable, Phase, StartRefused, Stream
from kumoi.engines.podman import storage
from kumoi.model.jobs import AttemptOutcome

Podman = Any
GROUPS = Path("/sys/fs/cgroup")


def run(podman: Podman, script: str, **changes: Any) -> str:
    """What the shell script printed; it must end well."""
    spec = podman.spec(script, **changes)
    assert podman.engine.ensure([spec]) == {spec.ref: None}
    record = podman.settle(spec.ref)[0].exit
    text: str = podman.text(spec.ref)
    assert record.exit_code == 0, (record, text, podman.text(spec.ref, Stream.STDERR))
    return text


def containers(podman: Podman) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(podman.podman("ps", "--all", "--format", "json"))
    return listed


def lost(podman: Podman, ref: str) -> Any:
    """The record of an attempt that `observe` must find dead."""

    def told() -> bool:
        podman.engine.observe(None, 10)
        return bool(podman.engine.ended(1))

    podman.wait(told, f"the loss of {ref}")
    record = podman.settle(ref)[0].exit
    assert record.outcome is AttemptOutcome.HOST_LOST
    assert record.started_us is not None
    return record


def test_a_container_has_its_project_s_user_and_no_privilege(podman: Podman) -> None:
    seen = run(podman, "id -u; id -g; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status")
    uid, gid, *status = seen.splitlines()
    assert (uid, gid) == ("200001", "200001")
    facts = dict(line.split(":\t") for line in status)
    assert {facts[name] for name in facts if name.startswith("Cap")} == {"0000000000000000"}
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")


def test_a_container_writes_to_its_project_and_to_memory_alone(podman: Podman) -> None:
    run(
        podman, "for d in /tmp /var/tmp /dev/shm /project; do echo x >$d/x || exit 1; done; ! touch /x /bin/x"
    )
    assert (podman.data_dir / "files/org_one/projects/prj_one/x").read_text() == "x\n"
    assert run(podman, "ls /tmp; cat /project/x") == "x\n"


def test_a_container_sees_no_name_and_no_process_of_the_host(podman: Podman) -> None:
    assert (
        run(podman, "hostname; grep -v localhost /etc/hosts; cat /etc/resolv.conf 2>/dev/null; :") == "task\n"
    )
    assert len(run(podman, "ls -d /proc/[0-9]*").split()) <= 4
    assert run(podman, "ip -o link | wc -l") == "1\n"


def test_secrets_are_files_that_only_the_user_reads(podman: Podman) -> None:
    secret = b"correct horse\nbattery\0staple"
    spec = podman.spec("stat -c '%a %u' /run/secrets/key; cat /run/secrets/key", secrets={"key": secret})
    podman.engine.ensure([spec])
    assert podman.settle(spec.ref)[0].exit.exit_code == 0
    said = podman.engine.log_read(spec.ref, Stream.STDOUT, 0, 1 << 16).data
    assert said == b"400 200001\n" + secret
    kept = [path for path in podman.data_dir.rglob("*") if path.is_file() and path.name != "stdout"]
    assert not [path for path in kept if secret in path.read_bytes()]


def test_the_environment_comes_as_it_is(podman: Podman) -> None:
    environment = {"ONE": ' a "b" #c ', "TWO": "line\nbreak", "EMPTY": "", "LONG": "x" * 32_768}
    script = 'printf "%s|" "$ONE" "$TWO" "${EMPTY-none}" "$HOME"; echo ${#LONG}'
    assert run(podman, script, environment=environment) == ' a "b" #c |line\nbreak||/tmp|32768\n'


def test_an_image_runs_its_own_command_unless_there_is_another(podman: Podman) -> None:
    podman.images(
        *("import", "--quiet", "--change", 'ENTRYPOINT ["/bin/echo", "own"]', "--change", "WORKDIR /bin"),
        *(str(podman.root / "image.tar"), "localhost/own:one"),
    )
    listed = json.loads(podman.images("images", "--digests", "--format", "json"))
    (image,) = [name for row in listed for name in row["RepoDigests"] if "/own@" in name]
    own = podman.spec("", image=image)
    own, other = replace(own, command=()), podman.spec("pwd", image=image)
    assert podman.engine.ensure([own, other]) == {own.ref: None, other.ref: None}
    podman.settle(own.ref, other.ref)
    assert (podman.text(own.ref), podman.text(other.ref)) == ("own\n", "/bin\n")


@pytest.mark.parametrize(("command", "code"), [("/none", 127), ("/bin", 126)])
def test_a_command_that_cannot_be_run_ends_as_in_a_shell(podman: Podman, command: str, code: int) -> None:
    spec = replace(podman.spec(""), command=(command,))
    podman.engine.ensure([spec])
    record = podman.settle(spec.ref)[0].exit
    assert (record.outcome, record.exit_code) == (AttemptOutcome.EXITED, code)
    assert record.detail.startswith("the command cannot be run: ")
    assert command not in record.detail, "what a tenant runs is not told beside its sealed specification"


def test_the_log_is_cut_at_its_limit(podman: Podman) -> None:
    spec = podman.spec("head -c 100000 /dev/zero; echo err >&2", limits={"log_bytes": 1_000})
    podman.engine.ensure([spec])
    record = podman.settle(spec.ref)[0].exit
    logs = [podman.engine.log_read(spec.ref, stream, 0, 1 << 20).data for stream in Stream]
    assert (record.exit_code, sum(map(len, logs)), record.detail) == (0, 1_000, "log cut at its limit")


def test_as_many_processes_as_anybody_may_ask_for(podman: Podman) -> None:
    assert run(podman, "echo yes", limits={"processes": 1 << 20, "file_bytes": 1 << 50}) == "yes\n"


def test_nothing_of_a_container_is_left_after_its_end(podman: Podman) -> None:
    spec = podman.spec("exit 0", secrets={"key": b"x"}, port=8_080)
    podman.engine.ensure([spec])
    podman.settle(spec.ref)
    assert containers(podman) == []
    assert not list(GROUPS.glob(f"*/kumoi/{podman.incarnation}-podman/{spec.ref}"))
    for kind in ("overlay-containers", "volumes"):
        assert not [path for path in (podman.engine.memory / "graph" / kind).glob("*") if path.is_dir()]


def test_what_is_no_container_is_refused_with_what_to_do(podman: Podman) -> None:
    absent = "registry.example/none@sha256:" + "0" * 64
    wrong = {
        "podman_registries|load": podman.spec("exit 0", image=absent),
        "image": podman.spec("exit 0", image=None),
        "memory": podman.spec("exit 0", limits={"memory_bytes": 1 << 20}),
    }
    for words, spec in wrong.items():
        refusal = podman.engine.ensure([spec])[spec.ref]
        assert isinstance(refusal, StartRefused)
        assert any(word in str(refusal) for word in words.split("|"))
    assert not podman.engine.observe(None, 10).items


def test_a_digest_under_another_name_is_no_image(podman: Podman) -> None:
    spec = podman.spec("exit 0", image="localhost/other@" + podman.image.partition("@")[2])
    assert isinstance(podman.engine.ensure([spec])[spec.ref], StartRefused)


def test_a_container_whose_supervisor_was_killed_is_lost_and_removed(podman: Podman) -> None:
    spec = podman.running(port=8_080)
    name = Path(podman.engine.endpoints([spec.ref])[spec.ref].netns)
    os.kill(podman.supervisor(spec.ref), signal.SIGKILL)
    podman.reopen()
    lost(podman, spec.ref)
    assert containers(podman) == []
    assert not name.exists()
    assert not list(GROUPS.glob(f"*/kumoi/{podman.incarnation}-podman/{spec.ref}"))


def test_a_container_whose_monitor_was_killed_is_lost_and_removed(podman: Podman) -> None:
    spec = podman.running()
    os.kill(int((podman.data_dir / "podman/tasks" / spec.ref / "conmon").read_text()), signal.SIGKILL)
    record = podman.settle(spec.ref)[0].exit
    assert (record.outcome, record.exit_code) == (AttemptOutcome.HOST_LOST, None)
    assert containers(podman) == []


def test_containers_survive_the_plane_and_its_fork_server(podman: Podman) -> None:
    spec = podman.running()
    engine = podman.reopen()
    assert [item.phase for item in engine.observe(None, 10).items] == [Phase.RUNNING]
    engine.stop([spec.ref], 5.0)
    record = podman.settle(spec.ref)[0].exit
    assert (record.outcome, record.signal) == (AttemptOutcome.CANCELLED, signal.SIGTERM)


def test_a_stop_while_it_starts_reaches_the_command(podman: Podman) -> None:
    specs = [podman.spec("hang") for _ in range(4)]
    refs = [spec.ref for spec in specs]
    monitors = [podman.data_dir / "podman/tasks" / ref / "conmon" for ref in refs]
    assert podman.engine.ensure(specs) == dict.fromkeys(refs)
    podman.wait(lambda: all(path.exists() for path in monitors), "the containers' monitors")
    podman.engine.stop(refs, 20.0)
    assert {item.exit.signal for item in podman.settle(*refs)} == {signal.SIGTERM}


def test_containers_of_nobody_are_removed_and_those_of_others_stay(podman: Podman) -> None:
    kept = podman.running()
    for incarnation in (podman.incarnation, "other"):
        podman.podman(
            *("create", "--name", f"of-{incarnation}", "--label", f"kumoi.incarnation={incarnation}"),
            *("--label", "kumoi.ref=att_gone", "--pull=never", "--network=none", podman.image, "true"),
        )
    podman.reopen().observe(None, 10)
    left = {
        row["Labels"]["kumoi.ref"] + "/" + row["Labels"]["kumoi.incarnation"] for row in containers(podman)
    }
    assert left == {f"{kept.ref}/{podman.incarnation}", "att_gone/other"}
    podman.podman("rm", "of-other")


def test_an_image_is_pulled_by_digest_from_a_registry_that_is_allowed(podman: Podman) -> None:
    image = Image(layer_of(str(podman.root / "image.tar")))
    with registry_of(image) as registry:
        podman.registries = (f"http://{registry}",)
        podman.reopen()
        spec = replace(podman.spec("", image=f"{registry}/team/app@{image.digest}"), command=())
        absent = podman.spec("exit 0", image=f"{registry}/team/app@sha256:{'0' * 64}")
        answers: dict[str, Any] = podman.engine.ensure([spec, absent])
        assert {type(answer) for answer in answers.values()} == {EngineUnavailable}
        assert "pulled" in str(answers[spec.ref])

        def settled() -> bool:
            answers.update(podman.engine.ensure([spec, absent]))
            return answers[spec.ref] is None and isinstance(answers[absent.ref], StartRefused)

        podman.wait(settled, "the pulls")
        assert "cannot be pulled" in str(answers[absent.ref])
        podman.settle(spec.ref)
        assert podman.text(spec.ref) == "pulled\n"


def test_containers_run_where_nothing_can_be_overlaid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, podman_at: Any
) -> None:
    monkeypatch.setattr(storage, "DRIVERS", ("vfs",))
    podman = podman_at(tmp_path)
    assert run(podman, "echo x >/project/x; ! touch /x; cat /project/x") == "x\n"
    assert (podman.data_dir / "podman/containers/storage/vfs").is_dir()
    copies = (podman.engine.memory / "graph/vfs").resolve()
    assert copies == podman.data_dir / "podman/containers/copies", "copies of images are not in memory"
