package signals

//go:generate sh ../generate.sh signal_event
