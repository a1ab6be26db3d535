"""Known vulnerabilities of what is installed: `make audit`. Says how much was looked up; nothing is not "none found".

Runs pip-audit, which asks PyPI's advisory database by package name. Where that cannot be reached, or answers for no
package, it says so and ends well: an audit that could not be made is no reason to stop a change, and no all-clear.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any


def verdict(report: Mapping[str, Any]) -> tuple[int, str]:
    """Exit code and what to print for pip-audit's JSON."""
    packages = report["dependencies"]
    skipped = [package for package in packages if "skip_reason" in package]
    unsafe = [package for package in packages if package.get("vulns")]
    lines = [
        f"{package['name']} {package['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'none'}"
        for package in unsafe
        for flaw in package["vulns"]
    ]
    audited = len(packages) - len(skipped)
    if not audited:
        return 0, f"audit: NOT MADE: none of {len(packages)} packages could be looked up (no network?)"
    text = f"audit: {audited} of {len(packages)} packages looked up, {len(lines)} known vulnerabilities"
    return int(bool(lines)), "\n".join([text, *lines])


def main(site_packages: str) -> int:
    """Audits a folder of installed packages."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--path",
        site_packages,
        "--format",
        "json",
        "--progress-spinner",
        "off",
    ]
    ran = subprocess.run(command, capture_output=True, text=True)
    try:
        report = json.loads(ran.stdout)
    except ValueError:
        said = ran.stderr.strip().splitlines() or ["it said nothing"]
        print(f"audit: NOT MADE: pip-audit could not be run or reached nobody ({said[-1][:300]})")
        return 0
    code, text = verdict(report)
    print(text)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
