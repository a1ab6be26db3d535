"""`worldr1 study`: a double-blind A/B study of two evaluations: made, served to people, closed, analysed."""

import argparse
import json
import sys
from pathlib import Path

from worldr1.cli.options import check_distinct
from worldr1.cli.places import add_overwrite, check_file
from worldr1.cli.progress import tracked
from worldr1.errors import InputError

DEFAULT_PORT = 8080


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`study new`, `serve`, `progress`, `close` and `analyse`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="new|serve|progress|close|analyse")
    new = actions.add_parser("new", help="choose pairs of two evaluations and seal who made what")
    new.add_argument("a", type=Path, metavar="A", help="a folder of `worldr1 evaluate`: the model to compare with")
    new.add_argument("b", type=Path, metavar="B", help="another of the same suite: win rates are B's")
    new.add_argument("--out", type=Path, required=True, metavar="DIR", help="the study's folder, new or empty")
    new.add_argument("--pairs", type=int, default=30, metavar="N", help="prompts, one pair each (default: 30)")
    new.add_argument("--checks", type=int, default=3, metavar="N", help="attention checks beside them (default: 3)")
    new.add_argument("--participants", type=int, default=25, metavar="N", help="links to make (default: 25)")
    new.add_argument("--questions", metavar="NAME,...", help="default: geometry,camera,overall,editable")
    new.add_argument("--title", default="Comparing videos", help="what participants read above the page")
    new.add_argument("--seed", type=int, metavar="N", help="of pairs, order and sides (default: one that nobody knows)")
    serve = actions.add_parser("serve", help="show it to participants in their browsers")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine)")
    serve.add_argument("--port", type=int, default=DEFAULT_PORT, metavar="N", help=f"(default: {DEFAULT_PORT})")
    serve.add_argument("--lan", action="store_true", help="let other machines in")
    serve.add_argument("--tokens", type=int, default=0, metavar="N", help="make N more links first")
    progress = actions.add_parser("progress", help="how far participants are; nothing of what they answered")
    close = actions.add_parser("close", help="take no more votes, and seal those that there are")
    analyse = actions.add_parser("analyse", help="open the key of a closed study and say what it shows")
    analyse.add_argument("--out", type=Path, metavar="FILE.html", help="also write a report")
    add_overwrite(analyse)
    for action in (progress, analyse):
        action.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    for action in (serve, progress, close, analyse):
        action.add_argument("study", type=Path, metavar="DIR", help="a folder of `worldr1 study new`")


def run(args: argparse.Namespace) -> int:
    """Does what was asked. Raises InputError for folders and options that do not fit."""
    actions = {"new": _new, "serve": _serve, "progress": _progress, "close": _close, "analyse": _analyse}
    return actions[args.action](args)


def _new(args: argparse.Namespace) -> int:
    from worldr1.study.design import minutes_per_participant
    from worldr1.study.making import StudyPlan, new_study
    from worldr1.study.questions import QUESTIONS, read_questions

    check_distinct((args.a, args.b), what="the evaluation")
    plan = StudyPlan(
        pairs=args.pairs,
        checks=args.checks,
        participants=args.participants,
        questions=tuple(QUESTIONS) if args.questions is None else read_questions(args.questions),
        title=args.title,
        seed=args.seed,
    )
    made = new_study(args.a, args.b, args.out, plan, progress=lambda work: tracked(work, "writing pairs"))
    study = made.study
    for note in made.notes:
        print(f"note: {note}", file=sys.stderr)
    print(
        f"{len(study.pairs)} pairs ({args.checks} of them attention checks) and {args.participants} links in "
        f"{args.out}; "
        f"about {minutes_per_participant(study)} minutes per participant."
    )
    print(f"Sealed key, sha256 {study.key_sha256}: publish it with the study's plan.")
    print(f"Next: worldr1 study serve {args.out}")
    return 0


def _serve(args: argparse.Namespace) -> int:
    from worldr1.study import serving
    from worldr1.study.design import Study
    from worldr1.study.making import add_tokens
    from worldr1.study.votes import VOTES_FILE, VoteStore

    serving.check_installed()
    host = serving.check_address(args.host, args.port, lan=args.lan)
    if args.tokens < 0:
        raise InputError(f"--tokens is at least 0, got {args.tokens}.")
    study, store = Study.load(args.study), VoteStore(args.study / VOTES_FILE)
    try:
        if store.sealed_sha256 is not None:
            raise InputError(f"{args.study} is closed; see what it shows with `worldr1 study analyse {args.study}`.")
        bound = serving.listen(host, args.port)
        if args.tokens:
            add_tokens(args.study, store, study, args.tokens)
        name = serving.own_address() if host == serving.EVERYWHERE else host
        address = f"http://{f'[{name}]' if ':' in name else name}:{bound.getsockname()[1]}"
        for link in serving.links(args.study, address):
            print(link)
        sys.stdout.flush()

        def ready() -> None:
            print(
                f"Serving {args.study} at {address}; one link per participant. Ctrl-C stops, votes are safe.",
                file=sys.stderr,
            )
            if args.lan:
                print(
                    "Other machines can reach it, without encryption: use it in a network that you trust.",
                    file=sys.stderr,
                )

        serving.serve(args.study, study, store, bound, ready)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; votes are safe, and the same command goes on") from None
    finally:
        store.close()
    return 0


def _progress(args: argparse.Namespace) -> int:
    from worldr1.study.design import Study
    from worldr1.study.votes import VOTES_FILE, VoteStore

    study, store = Study.load(args.study), VoteStore(args.study / VOTES_FILE)
    try:
        rows, closed = store.progress(), store.sealed_sha256 is not None
    finally:
        store.close()
    total = len(study.pairs)
    found = {
        "closed": closed,
        "pairs": total,
        "participants": [
            {"participant": slot + 1, "opened": bool(opened), "submitted": done, "seconds_per_pair": ms and ms / 1000}
            for slot, opened, done, ms in rows
        ],
    }
    if args.json:
        print(json.dumps(found))
        return 0
    for person in found["participants"]:
        seconds = f", {person['seconds_per_pair']:.1f} s each" if person["seconds_per_pair"] else ""
        state = "" if person["opened"] else ", link not used yet"
        print(f"participant {person['participant']:3d}: {person['submitted']} of {total} pairs{seconds}{state}")
    finished = sum(person["submitted"] == total for person in found["participants"])
    print(f"{finished} of {len(rows)} finished, {sum(row[2] for row in rows)} votes; {'closed' if closed else 'open'}")
    return 0


def _close(args: argparse.Namespace) -> int:
    from worldr1.study.design import Study
    from worldr1.study.votes import VOTES_FILE, VoteStore

    Study.load(args.study)
    store = VoteStore(args.study / VOTES_FILE)
    try:
        print(f"Closed; {len(store.votes)} votes, sha256 {store.seal()}.")
    finally:
        store.close()
    print(f"Next: worldr1 study analyse {args.study} --out report.html")
    return 0


def _analyse(args: argparse.Namespace) -> int:
    from worldr1.study.analysis import analyse_folder, summary
    from worldr1.study.report import analysis_json, report_page

    if args.out is not None:
        check_file(args.out, suffix=".html", overwrite=args.overwrite)
    analysis = analyse_folder(args.study)
    if args.out is not None:
        args.out.write_text(report_page(analysis), encoding="utf-8")
    print(json.dumps(analysis_json(analysis), allow_nan=False) if args.json else summary(analysis))
    return 0
