package syscalls

// largeFile is O_LARGEFILE, which Go has as 0 on 64-bit machines.
const largeFile = 0o100000
