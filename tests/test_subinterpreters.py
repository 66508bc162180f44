"""Subinterpreters: each its own nontax, one after another and all at once, with one GIL or many."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from bills import bill
from marks import DEBUG
from processes import Talk, run

from nontax.sandbox import Sandbox

ROOT = Path(__file__).resolve().parent.parent
INTERPRETERS = 4
BILLS = 6  # of each
DUPLICATE = 72056


def use_subinterpreters(talk: Talk) -> None:
    """Import and use the package in interpreters beside the main one, and in that one meanwhile."""
    import json
    import threading

    try:
        import _interpreters as interpreters  # type: ignore[import-not-found,unused-ignore]

        kinds: dict[str, Any] = {"shared": {"config": "legacy"}, "own": {"config": "isolated"}}
    except ImportError:
        import _xxsubinterpreters as interpreters  # type: ignore[import-not-found,no-redef,unused-ignore]

        kinds = {"shared": {"isolated": False}, "own": {"isolated": True}}

    program = """if True:
        import json, os
        def tell(**facts):
            os.write(1, (json.dumps(facts) + "\\n").encode())
        try:
            from nontax import Client
        except ImportError as error:
            tell(refused=str(error))
        else:
            import nontax
            setup = json.loads({setup!r})
            client = Client(token_source=lambda stale: setup["token"], **setup["client"])
            first, second, *others = setup["bills"]
            for one in first, second, first:
                try:
                    tell(order=one["order_id"], code=client.insert_bill(one).code)
                except nontax.DuplicateBillError as error:
                    tell(order=one["order_id"], errcode=error.errcode)
            for outcome in client.insert_bills(others, concurrency=2):
                tell(order=outcome.bill["order_id"], code=outcome.inserted.code)
    """
    main = talk.client(token_source=lambda _: talk.setup["token"])
    ours, *theirs = talk.setup["bills"]

    def work(bills: list[Any]) -> None:
        setup = {"client": talk.setup["client"], "token": talk.setup["token"], "bills": bills}
        other = interpreters.create(**kinds[talk.setup["gil"]])
        failure = interpreters.run_string(other, program.format(setup=json.dumps(setup)))
        if failure is not None:
            talk.tell(failure=str(failure))
        interpreters.destroy(other)

    threads = [threading.Thread(target=work, args=(bills,)) for bills in theirs]
    for thread in threads:
        thread.start()
        if not talk.setup["at_once"]:
            thread.join()
    for one in ours:
        talk.insert(main, one)
    for thread in threads:
        thread.join()


def told_by(sandbox: Sandbox, gil: str, at_once: bool, **env: str) -> list[dict[str, Any]]:
    """What the subinterpreters tell, after a look at what the main interpreter has told."""
    bills = [[bill() for _ in range(BILLS)] for _ in range(INTERPRETERS + 1)]
    told = run(
        use_subinterpreters,
        env,
        client={"base_url": sandbox.base_url},
        token=sandbox.access_token,
        bills=bills,
        gil=gil,
        at_once=at_once,
    )
    ours = {sandbox.bills[one["order_id"]].code for one in bills[0]}
    assert {facts["code"] for facts in told if facts.keys() == {"code"}} == ours
    return [facts for facts in told if facts.keys() != {"code"}]


def check(sandbox: Sandbox, told: list[dict[str, Any]]) -> None:
    """All bills are in, each told of with its own code, and the ones sent again were refused."""
    assert len(sandbox.bills) == BILLS * (INTERPRETERS + 1)
    assert len(told) == (BILLS + 1) * INTERPRETERS
    refused = [facts for facts in told if "errcode" in facts]
    assert [facts["errcode"] for facts in refused] == [DUPLICATE] * INTERPRETERS
    for facts in told:
        if facts not in refused:
            assert facts["code"] == sandbox.bills[facts["order"]].code


@pytest.mark.parametrize("at_once", [False, True])
def test_with_one_gil_for_all(sandbox: Sandbox, at_once: bool) -> None:
    check(sandbox, told_by(sandbox, "shared", at_once))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="this Python has one GIL for all")
def test_the_stable_abi_is_refused_where_each_has_its_gil(sandbox: Sandbox) -> None:
    """As Python does it, since the stable ABI of 3.11 has no way to say that it is supported."""
    if sysconfig.get_config_var("Py_GIL_DISABLED") or DEBUG:
        pytest.skip("this build has no stable ABI")
    told = told_by(sandbox, "own", False)
    assert len(told) == INTERPRETERS
    assert all("does not support loading in subinterpreters" in facts["refused"] for facts in told)


@pytest.fixture(scope="module")
def own_build(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a build for this version of Python alone."""
    folder = tmp_path_factory.mktemp("own_build")
    subprocess.run(
        [
            # Not beside the sources, where another test may be making an sdist.
            *(sys.executable, "setup.py", "-q", "egg_info", "--egg-base", folder, "build"),
            *("--build-base", folder / "base", "--build-lib", folder / "lib"),
        ],
        check=True,
        cwd=ROOT,
        env=os.environ | {"NONTAX_LIMITED_API": "0"},
        capture_output=True,
    )
    return str(folder / "lib")


@pytest.mark.build
@pytest.mark.skipif(sys.version_info < (3, 12), reason="this Python has one GIL for all")
@pytest.mark.parametrize("at_once", [False, True])
def test_with_a_gil_for_each(sandbox: Sandbox, own_build: str, at_once: bool) -> None:
    told = told_by(sandbox, "own", at_once, PYTHONPATH=own_build, PYTHONSAFEPATH="1")
    check(sandbox, told)
