"""LiteRT.js: from a registry, with a checksum, or a directory; else one clear line."""

import base64
import hashlib
import json

import pytest

from pipeline.cli import RunError, UserError
from tests.support.download_server import Fault, serving
from tests.support.page.litertjs_packages import MADE_UP, made_up_archives, write_made_up
from tests.support.warm_process import run_module
from trainer.export import check_output
from trainer.exports import litertjs

TAKEN = {
    f"litertjs/{package}/{name}": content.encode()
    for package, files in MADE_UP.items()
    for name, content in files.items()
    if "threaded" not in name
}


@pytest.fixture
def registry():
    """A registry with the made-up packages."""
    with serving() as bucket:
        bucket.files |= made_up_archives()
        yield bucket


@pytest.fixture
def _trusted(monkeypatch):
    """Make the made-up archives the known ones."""
    archives = made_up_archives()
    packages = []
    for package in litertjs._PACKAGES:
        archive = archives[f"@litertjs/{package.name}/-/{package.name}-{litertjs.VERSION}.tgz"]
        digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
        packages.append(package._replace(integrity=digest))
    monkeypatch.setattr(litertjs, "_PACKAGES", tuple(packages))


@pytest.mark.usefixtures("_trusted")
def test_a_registry_gives_what_the_page_needs(registry):
    assert litertjs.download(registry.url) == TAKEN


@pytest.mark.usefixtures("_trusted")
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(damage=True), r"core-[\d.]+tgz: its SHA-512 is not the one of LiteRT.js [\d.]+;"),
        (Fault(page=b"<html>log in</html>"), r"core-[\d.]+tgz: its SHA-512 is not the one"),
        (Fault(status=404), r"^cannot download .*-[\d.]+tgz: the server answers 404 .*--litertjs"),
        (Fault(status=503), r"^cannot download .*: the server answers 503"),
        (Fault(drop_after=20), r"^cannot download .*--litertjs=DIR takes it from this machine$"),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_the_archive_is_one_line(registry, fault, reason):
    registry.always = fault
    with pytest.raises(RunError, match=reason) as raised:
        litertjs.download(registry.url)
    assert len(str(raised.value).splitlines()) == 1


def test_the_archives_of_npm_are_not_those_of_others(registry):
    with pytest.raises(RunError, match="its SHA-512 is not the one"):
        litertjs.download(registry.url)


def test_an_endless_answer_is_given_up(registry, monkeypatch):
    monkeypatch.setattr(litertjs, "_MAX_BYTES", 100)
    with pytest.raises(RunError, match=r"core-.*tgz: longer than 0 MiB"):
        litertjs.download(registry.url)


def test_a_registry_that_is_not_there_is_one_line():
    with serving() as bucket:
        url = bucket.url
    with pytest.raises(RunError, match=r"^cannot download .*: Connection refused; --litertjs=DIR"):
        litertjs.download(url)


def test_a_directory_of_npm_gives_the_same(tmp_path):
    write_made_up(tmp_path)
    assert litertjs.read(str(tmp_path)) == TAKEN


def test_a_directory_without_a_file_or_of_another_version_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"core/package.json: No such file .*npm install @litertjs"):
        litertjs.read(str(tmp_path))
    write_made_up(tmp_path)
    (tmp_path / "core" / "wasm" / "litert_wasm_compat_internal.wasm").unlink()
    with pytest.raises(UserError, match=r"litert_wasm_compat_internal.wasm: No such file"):
        litertjs.read(str(tmp_path))
    for content, version in (
        (json.dumps({"version": "0.1.0"}), "0.1.0"),
        ("[]", "None"),
        ("{", "None"),
    ):
        write_made_up(tmp_path)
        (tmp_path / "wasm-utils" / "package.json").write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=f"wasm-utils is version {version}, the page needs"):
            litertjs.read(str(tmp_path))


def export(*arguments):
    done = run_module("trainer.export", arguments)
    return done.returncode, done.stdout, done.stderr.splitlines()


def test_the_command_writes_the_page_of_the_pretrained_model_and_replaces_it(tmp_path):
    write_made_up(tmp_path / "litertjs")
    page = tmp_path / "new" / "page"
    flags = ["--formats=web", f"--output={page}/", f"--litertjs={tmp_path}/litertjs"]
    for _ in range(2):
        status, printed, errors = export(*flags)
        assert (status, errors) == (0, []), errors
        assert str(page) in printed
        assert "<!doctype html>" in (page / "index.html").read_text(encoding="utf-8").lower()
        (page / "index.html").write_text("of the page before", encoding="utf-8")
    assert sorted(path.name for path in page.parent.iterdir()) == ["page"]
    assert (page / "litertjs/core/dist/index.js").read_text() == MADE_UP["core"]["dist/index.js"]
    assert json.loads((page / "model.json").read_text(encoding="utf-8"))["model"] == "pretrained"


def test_a_failed_command_leaves_the_page_as_it_was(tmp_path, registry):
    write_made_up(tmp_path / "litertjs")
    page = tmp_path / "page"
    flags = ["--formats=web", f"--output={page}"]
    assert export(*flags, f"--litertjs={tmp_path}/litertjs")[0] == 0
    (page / "index.html").write_text("mark", encoding="utf-8")
    for more, status, reason in (
        (f"--npm_registry={registry.url}", 1, "its SHA-512 is not the one of LiteRT.js"),
        (f"--npm_registry={registry.url}/none", 1, "the server answers 404"),
        ("--npm_registry=npmjs.org", 2, "is not an http:// or https:// address"),
        (f"--litertjs={tmp_path}", 2, "No such file or directory"),
    ):
        done = export(*flags, more)
        assert done[0] == status
        (error,) = done[2]
        assert error.startswith("error: ")
        assert reason in error
    assert (page / "index.html").read_text(encoding="utf-8") == "mark"


def test_a_page_that_cannot_be_written_is_one_line(tmp_path):
    write_made_up(tmp_path / "litertjs")
    (tmp_path / "file").touch()
    arguments = ["--formats=web", f"--output={tmp_path}/file/page"]
    status, _, errors = export(*arguments, f"--litertjs={tmp_path}/litertjs")
    assert status == 1
    assert errors == [f"error: {tmp_path}/file/page: cannot be written: Not a directory"]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("page/model.json", '{"format": "layers-model"}'),  # of TensorFlow.js
        ("page/model.json", "[]"),
        ("page/index.html", "a page of one's own"),
        ("page", "a file"),
        ("page.former/thesis.txt", "would be a leftover"),
        ("page.incomplete/thesis.txt", "would be a leftover"),
    ],
)
def test_nothing_but_a_page_is_replaced(tmp_path, path, content):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="exists and holds more than a page of"):
        check_output(str(tmp_path / "page"))


def test_a_page_with_files_of_the_users_is_not_replaced(tmp_path):
    page = tmp_path / "page"
    page.mkdir()
    check_output(str(page))  # an empty directory
    for name, content in (("index.html", ""), ("model.json", '{"labels": ["cat"]}')):
        (page / name).write_text(content, encoding="utf-8")
    check_output(str(page))
    (page / "CNAME").write_text("example.org", encoding="utf-8")
    with pytest.raises(UserError, match="exists and holds more than a page"):
        check_output(str(page))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "--run_dir says what to export; without it, --formats=web --output=DIR writes the"),
        (["--output=OUT"], "--run_dir says what to export"),
        (["--formats=web,keras", "--output=OUT"], "--run_dir says what to export"),
        (["--formats=web", "--output=OUT", "--run_dir=run"], "--run_dir or --output, not both"),
        (["--formats=web", "--output=OUT", "--drawings=5"], "--drawings is for the export of a"),
        (["--formats=keras", "--run_dir=run", "--litertjs=L"], "--litertjs is for --formats=web"),
        (["--formats=web", "--output=gs://b/x"], "it has to be a directory on this machine"),
        (["--formats=web", "--output=LITERTJS", "--litertjs=LITERTJS"], "LITERTJS exists and hol"),
    ],
)  # fmt: skip
def test_flags_that_do_not_go_together_are_one_line(tmp_path, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    write_made_up(tmp_path / "LITERTJS")
    status, _, (error,) = export(*arguments)
    assert status == 2
    assert reason in error
    assert [path.name for path in tmp_path.iterdir()] == ["LITERTJS"]
