"""`python -m meshwright`: the command line, also where no script was installed."""

from meshwright.cli.app import main

if __name__ == "__main__":
    main()
