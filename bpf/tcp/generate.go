package tcp

//go:generate sh ../generate.sh tcp_event
//go:generate sh ../generate.sh PRE515
//go:generate sh ../generate.sh NOMAPITER
