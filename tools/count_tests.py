#!/usr/bin/env python3
"""Sums up a Meson test log: count_tests.py TESTLOG.JSON EXIT_STATUS_OF_MESON

A cmocka program counts as its single tests, a script as one. Prints why tests were skipped, the
output of those that failed, and last "N passed, N failed, N skipped"; exits 1 when any failed.
"""
import json
import re
import sys


def main():
    passed = failed = skipped = 0
    reasons, broken = {}, []
    try:
        with open(sys.argv[1], encoding="utf-8", errors="replace") as f:
            tests = [json.loads(line) for line in f if line.strip()]
    except OSError:
        tests = []
    for t in tests:
        text = (t.get("stdout") or "") + "\n" + (t.get("stderr") or "")
        ok = len(re.findall(r"^\[ +OK +\]", text, re.M))
        bad = len(set(re.findall(r"^\[ +FAILED +\] (\w+)\s*$", text, re.M)))
        away = len(set(re.findall(r"^\[ +SKIPPED +\] (\w+)\s*$", text, re.M)))
        result = t["result"]
        if result == "SKIP":
            passed, skipped = passed + ok, skipped + max(away, 1)
        elif result == "OK":
            passed, skipped = passed + (ok if ok or away else 1), skipped + away
        else:
            passed, skipped, failed = passed + ok, skipped + away, failed + max(bad, 1)
            broken.append((t["name"], result, text))
        if result == "SKIP" or away:
            why = re.findall(r"(?:SKIP|skip(?:ped|ping)?): *(.+)", text)
            why = list(dict.fromkeys(w.strip() for w in why))
            reasons[t["name"]] = "; ".join(why) if why else "no reason given"
    for name, result, text in broken:
        print(f"\n==== {name}: {result}\n" + "\n".join(text.strip().splitlines()[-60:]))
    print()
    for name, why in reasons.items():
        print(f"skipped: {name}: {why}")
    if not tests or (int(sys.argv[2]) and not failed):
        print("the test runner itself failed", file=sys.stderr)
        failed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


sys.exit(main())
