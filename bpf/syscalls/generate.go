package syscalls

//go:generate sh ../generate.sh syscall_event call total total_key
//go:generate sh ../generate.sh PRE515
