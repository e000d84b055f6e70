package flows

//go:generate sh ../generate.sh flow_event tcp_rec responses
//go:generate sh ../generate.sh PRE515
//go:generate sh ../generate.sh NOMAPITER
