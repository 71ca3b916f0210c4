"""Browser tests: the built site and its explorers in Chromium. `make book` first, then `make browser`."""
