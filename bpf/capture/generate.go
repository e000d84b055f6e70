package capture

//go:generate sh ../generate.sh packet_event
