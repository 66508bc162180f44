#!/usr/bin/env python3
"""Django's commands for this project; start.py starts all of it."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hospital.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
