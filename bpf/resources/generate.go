package resources

//go:generate sh ../generate.sh task_waits block_io
//go:generate sh ../generate.sh PRE515
