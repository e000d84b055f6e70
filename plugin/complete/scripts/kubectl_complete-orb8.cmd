@rem Completions of kubectl orb8: kubectl 1.26 and later runs this file, found in PATH, with the words typed so far.
@rem The variable keeps cmd from running a program of the current directory.
@setlocal
@set NoDefaultCurrentDirectoryInExePath=1
@kubectl-orb8.exe __complete %* <nul 2>nul
