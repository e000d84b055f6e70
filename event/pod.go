package event

// podCells are the columns that tables of kinds without two ends begin with.
var podCells = []Column{
	{
		Name: "who", Header: "POD", Doc: "The observed pod; with its namespace where that is not that of the view.",
		Width: 24, Outputs: InTable | InWide,
		Show: func(dst []byte, ev *Event, v *View) []byte {
			if ev.GetPod() == "" {
				return dst
			}
			return appendName(dst, ev.GetNamespace(), ev.GetPod(), v)
		},
	},
	{
		Name: "in", Header: "CONTAINER", Doc: "Container in the observed pod.", Width: 10, Outputs: InTable | InWide,
		Show: func(dst []byte, ev *Event, _ *View) []byte { return append(dst, ev.GetContainer()...) },
	},
}
