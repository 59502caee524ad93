# SPDX-License-Identifier: GPL-2.0-only


def late(*_):
    print(f"could not tell: no answer within {SECONDS} s")
    os._exit(2)


def main():
    if len(sys.argv) < 2:
        print(f"usage: {sys.argv[0]} {USAGE}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        return reproduce()
    except ErrorCame as error:
        print(f"{error}, as is expected\nthe fault does not show")
        return 0
    except (CannotTell, OSError) as error:
        print(f"could not tell: {error}")
        return 2
