"""One table of the lines that the tests execute, C and Python together, with those they do not."""

import json
import subprocess
import sys

Missing = dict[str, list[int]]  # function -> its lines that were never executed


def measured_c() -> dict[str, tuple[int, Missing]]:
    """File -> how many lines it has that can be executed, and which of them never were."""
    command = [sys.executable, "-m", "gcovr", "--root", ".", "--filter", "csrc/", "--json", "-"]
    command += ["--gcov-ignore-parse-errors=negative_hits.warn", "--merge-mode-functions=separate"]
    done = subprocess.run([*command, "build/coverage"], check=True, capture_output=True)
    files = {}
    for file in json.loads(done.stdout)["files"]:
        lines = {line["line_number"]: 0 for line in file["lines"]}
        names = {line["line_number"]: line.get("function_name", "") for line in file["lines"]}
        for line in file["lines"]:
            lines[line["line_number"]] += line["count"]
        missing: Missing = {}
        for number in sorted(lines):
            if not lines[number]:
                missing.setdefault(names[number], []).append(number)
        files[file["file"]] = len(lines), missing
    return files


def measured_python() -> dict[str, tuple[int, Missing]]:
    """The same for Python."""
    command = [sys.executable, "-m", "coverage"]
    subprocess.run([*command, "combine", "-q"], check=True)
    done = subprocess.run([*command, "json", "-q", "-o", "-"], check=True, capture_output=True)
    return {
        name: (
            file["summary"]["num_statements"],
            {
                function: part["missing_lines"]
                for function, part in file["functions"].items()
                if part["missing_lines"]
            },
        )
        for name, file in json.loads(done.stdout)["files"].items()
    }


def ranges(numbers: list[int]) -> str:
    """Like "3-5 9"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return " ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)


def show(title: str, files: dict[str, tuple[int, Missing]]) -> None:
    missing_count = 0
    for name, (count, missing) in sorted(files.items()):
        here = sum(map(len, missing.values()))
        missing_count += here
        print(f"{name:<36} {count:>6} {100 - 100 * here / max(count, 1):>6.1f}%")
        for function, numbers in missing.items():
            print(f"    {function or 'outside of functions'}: {ranges(numbers)}")
    count = sum(lines for lines, _ in files.values())
    print(f"{title:<36} {count:>6} {100 * (count - missing_count) / count:>6.1f}%\n")


def main() -> None:
    c, python = measured_c(), measured_python()
    if not c or not python:
        raise SystemExit("nothing was measured")
    print(f"{'file':<36} {'lines':>6} {'run':>7}, and what was not, by function")
    show("all of C", c)
    show("all of Python", python)


if __name__ == "__main__":
    main()
