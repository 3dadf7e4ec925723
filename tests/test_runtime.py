"""`import detectron2` works after `import ovavss_d2`, however a program starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ["train_net.py", "demo/demo.py"]


def run(code_or_args, **kwargs):
    args = [
        sys.executable,
        *(["-c", code_or_args] if isinstance(code_or_args, str) else code_or_args),
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(args, capture_output=True, text=True, cwd=ROOT, env=env, **kwargs)


def test_detectron2_imports_after_the_package():
    done = run(
        "import ovavss_d2, detectron2; from ovavss_d2.standalone import describe; print(describe())"
    )
    assert done.returncode == 0, done.stderr
    assert "etectron2" in done.stdout


def test_an_installed_detectron2_wins(tmp_path):
    package = tmp_path / "detectron2"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = 'installed'")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import ovavss_d2.standalone as s; "
        "import detectron2; print(detectron2.__version__); assert s.__path__[0] not in sys.path"
    )
    done = run(f"import importlib.machinery, sys\n{code}")
    assert done.stdout.strip().endswith("installed"), done.stderr


def test_works_in_a_spawned_process(tmp_path):
    script = tmp_path / "spawned.py"
    script.write_text(
        "import multiprocessing as mp\n"
        "import ovavss_d2\n"
        "from detectron2.config import get_cfg\n"
        "if __name__ == '__main__':\n"
        "    with mp.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.apply(get_cfg).VERSION)\n"
    )
    done = run([str(script)])
    assert done.stdout.strip() == "2", done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("reverse", [False, True])
def test_scripts_start_whatever_the_order_of_their_imports(script, reverse, tmp_path):
    lines = (ROOT / script).read_text().splitlines(keepends=True)
    places = [
        i
        for i, line in enumerate(lines)
        if line.startswith(("import ", "from ")) and "(" not in line
    ]
    ordered = sorted((lines[i] for i in places), reverse=reverse)
    for i, line in zip(places, ordered, strict=True):
        lines[i] = line
    shuffled = tmp_path / Path(script).name
    shuffled.write_text("".join(lines))
    done = run([str(shuffled), "--help"])
    assert done.returncode == 0, done.stderr
