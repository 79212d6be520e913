"""`python -m disburse` is the command `disburse`."""

from disburse.cli.main import main

if __name__ == "__main__":
    main()
