package resources

//go:generate sh ../generate.sh run_delay block_io
