package exec

//go:generate sh ../generate.sh exec_event
