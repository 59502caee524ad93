from tests.installed.installation import *
