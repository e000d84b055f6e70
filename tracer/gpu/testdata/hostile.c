// SPDX-License-Identifier: Apache-2.0
//
// A driver library whose constructor tries operations that reading GPUs does not need, and prints the result of each.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void line(const char *key, long result)
{
	fprintf(stderr, "%s=%s ", key, result < 0 ? strerrorname_np(errno) : "done");
}

static void status(const char *key)
{
	char text[256];
	FILE *f = fopen("/proc/self/status", "re");

	while (f && fgets(text, sizeof(text), f))
		if (!strncmp(text, key, strlen(key)))
			fprintf(stderr, "%s%s ", key, strtok(text + strlen(key), " \t\n"));
	if (f)
		fclose(f);
}

__attribute__((constructor)) static void attack(void)
{
	char *const arguments[] = { "/bin/true", NULL };

	line("socket", socket(AF_INET, SOCK_STREAM, 0));
	line("execve", execve("/bin/true", arguments, NULL));
	line("fork", fork());
	line("ptrace", ptrace(PTRACE_ATTACH, getppid(), 0, 0));
	line("userns", unshare(CLONE_NEWUSER));
	line("bpf", syscall(SYS_bpf, 0, NULL, 0));
	line("setuid", setuid(0));
	line("kill", kill(getppid(), SIGUSR2));
	line("device", open(getenv("HOSTILE_DEVICE"), O_RDWR));
	line("secret", open(getenv("HOSTILE_SECRET"), O_RDONLY));
	line("null", open("/dev/null", O_RDWR));
	status("Uid:");
	status("Groups:");
	status("CapPrm:");
	status("CapEff:");
	status("CapAmb:");
	status("NoNewPrivs:");
	status("Seccomp:");
	fprintf(stderr, "\n");
	_exit(1);
}
