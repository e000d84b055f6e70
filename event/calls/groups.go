package calls

// groups are strace's classes of the same names: of the calls with a path, of the network, of the life of processes, of
// the address space.
var groups = map[string]string{
	"file": `access acct chdir chmod chown chown32 chroot creat execve execveat faccessat faccessat2 fanotify_mark
		fchmodat fchmodat2 fchownat file_getattr file_setattr fspick fstatat64 futimesat getcwd getxattr getxattrat
		inotify_add_watch lchown lchown32 lgetxattr link linkat listxattr listxattrat llistxattr lremovexattr
		lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat mount mount_setattr move_mount name_to_handle_at
		newfstatat oldlstat oldstat open open_tree open_tree_attr openat openat2 pivot_root quotactl readlink
		readlinkat removexattr removexattrat rename renameat renameat2 rmdir setxattr setxattrat stat stat64 statfs
		statfs64 statx swapoff swapon symlink symlinkat truncate truncate64 umount umount2 unlink unlinkat uselib
		utime utimensat utimensat_time64 utimes`,
	"net": `accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
		recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socket socketcall socketpair`,
	"process": `clone clone3 execve execveat exit exit_group fork kill pidfd_open pidfd_send_signal rt_sigqueueinfo
		rt_tgsigqueueinfo tgkill tkill unshare vfork wait4 waitid waitpid`,
	"memory": `break brk get_mempolicy madvise map_shadow_stack mbind memfd_secret migrate_pages mincore mlock mlock2
		mlockall mmap mmap2 move_pages mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
		pkey_mprotect process_madvise process_mrelease remap_file_pages set_mempolicy set_mempolicy_home_node shmat
		shmdt`,
}
