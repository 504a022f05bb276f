"""Engines of Maven's registry, each as one jar, and Java processes that run them."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence

import pytest

from tests.support.worker_pool import running_group

LOG = "org.slf4j:slf4j-simple:1.7.30"  # an artifact with which engines say what they do
DOWNLOADS = pathlib.Path(__file__).parent.parent.parent / ".engines"

# Puts everything into one jar, as Beam's own job servers are made: their services are listed
# together, and the signatures go, which would be of other jars.
_POM = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>tests</groupId><artifactId>engine</artifactId><version>1</version>
  <dependencies>{dependencies}</dependencies>
  <build><plugins><plugin>
    <artifactId>maven-shade-plugin</artifactId><version>3.6.0</version>
    <executions><execution>
      <phase>package</phase><goals><goal>shade</goal></goals>
      <configuration>
        <filters><filter>
          <artifact>*:*</artifact>
          <excludes>
            <exclude>META-INF/*.SF</exclude>
            <exclude>META-INF/*.DSA</exclude>
            <exclude>META-INF/*.RSA</exclude>
          </excludes>
        </filter></filters>
        <transformers>
          <transformer implementation="{shade}.ServicesResourceTransformer"/>
          <transformer implementation="{shade}.ManifestResourceTransformer">
            <manifestEntries>
              <Main-Class>{main_class}</Main-Class>
              <Add-Opens>{opened}</Add-Opens>
              <Multi-Release>true</Multi-Release>
            </manifestEntries>
          </transformer>
        </transformers>
      </configuration>
    </execution></executions>
  </plugin></plugins></build>
</project>
"""
_DEPENDENCY = """<dependency>
  <groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>
</dependency>
"""
# Packages of Java's own that the engines reach into, which Java 17 closes.
_OPENED = tuple(
    f"java.base/{package}"
    for package in (
        *("java.io", "java.lang", "java.lang.invoke", "java.lang.reflect", "java.net", "java.nio"),
        *("java.text", "java.time", "java.util", "java.util.concurrent"),
        *("java.util.concurrent.atomic", "sun.net.util", "sun.nio.ch", "sun.nio.cs"),
        *("sun.security.action", "sun.util.calendar"),
    )
)


def fetch_jar(main_class: str, choices: Sequence[Sequence[str]]) -> pathlib.Path:
    """A jar of artifacts, "group:artifact:version", and all that they need: `java -jar` runs it.

    Of the `choices` the first that the registry serves is fetched into DOWNLOADS, with a warning
    about those before it; one that is there already is used again. Skips the test where none is
    served.
    """
    jars = [DOWNLOADS / f"{'-'.join(choice[0].split(':')[1:])}.jar" for choice in choices]
    for jar in jars:
        if jar.exists():
            return jar
    for program in ("java", "mvn"):
        if not shutil.which(program):
            pytest.skip(f"{jars[0].name}: needs {program}")
    DOWNLOADS.mkdir(exist_ok=True)
    errors = []
    for artifacts, jar in zip(choices, jars, strict=True):
        error = _build_jar(main_class, artifacts, jar)
        if error is None:
            return jar
        warnings.warn(error, stacklevel=1)
        errors.append(error)
    pytest.skip("; ".join(errors))


def _build_jar(main_class: str, artifacts: Sequence[str], jar: pathlib.Path) -> str | None:
    """Why it cannot be built; None if it has been."""
    with tempfile.TemporaryDirectory(dir=jar.parent) as directory:
        pom = _POM.format(
            dependencies="".join(_DEPENDENCY.format(*each.split(":")) for each in artifacts),
            main_class=main_class,
            opened=" ".join(_OPENED),
            shade="org.apache.maven.plugins.shade.resource",
        )
        pathlib.Path(directory, "pom.xml").write_text(pom)
        done = subprocess.run(
            ["mvn", "--batch-mode", "--quiet", "package"],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            os.rename(f"{directory}/target/engine-1.jar", jar)
            return None
    error = next((line for line in done.stdout.splitlines() if "[ERROR]" in line), done.stdout)
    return error.rpartition("engine:jar:1: ")[2].partition(" -> ")[0]


@contextlib.contextmanager
def running_java(
    jar: pathlib.Path, main_class: str, *arguments: str, log: pathlib.Path, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A Java process while the context lasts; what it prints goes to the file `log`."""
    opened = [f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED]
    command = ["java", "-Xmx512m", *opened, "-cp", str(jar), main_class, *arguments]
    with (
        log.open("wb") as output,
        running_group(
            command,
            cwd=log.parent,
            env={**os.environ, **temporary_files_in(log.parent), **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        yield process


def temporary_files_in(directory: pathlib.Path) -> dict[str, str]:
    """Environment in which programs, Java's too, leave in `directory` what they leave."""
    return {"TMPDIR": str(directory), "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={directory}"}
