from tests.clients.strace_text import *
