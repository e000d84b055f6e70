package cuda

//go:generate sh ../generate.sh process about counts call allocation memory failure
