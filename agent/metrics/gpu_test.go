package metrics

import (
	"slices"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// dcgmNames are the metrics of dcgm-exporter's default-counters.csv, and others that its users switch on, for which an
// agent has values.
var dcgmNames = []string{
	"DCGM_FI_DEV_SM_CLOCK", "DCGM_FI_DEV_MEM_CLOCK", "DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_POWER_USAGE",
	"DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_MEM_COPY_UTIL", "DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_FB_USED",
	"DCGM_FI_DEV_FB_RESERVED", "DCGM_FI_DEV_FB_TOTAL", "DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
	"DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_PROF_SM_ACTIVE",
	"DCGM_FI_PROF_SM_OCCUPANCY", "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "DCGM_FI_PROF_DRAM_ACTIVE",
	"DCGM_FI_PROF_PIPE_FP64_ACTIVE", "DCGM_FI_PROF_PIPE_FP32_ACTIVE", "DCGM_FI_PROF_PIPE_FP16_ACTIVE",
	"DCGM_FI_PROF_PCIE_TX_BYTES", "DCGM_FI_PROF_PCIE_RX_BYTES", "DCGM_FI_PROF_NVLINK_TX_BYTES",
	"DCGM_FI_PROF_NVLINK_RX_BYTES",
}

// device is an event with every reading.
func device() *event.Event {
	half, rate := new(50.), new(uint64(1000))
	return &event.Event{Node: "n1", Kind: &event.Event_Gpu{Gpu: &event.Gpu{
		Type: event.GpuEventType_GPU_EVENT_TYPE_DEVICE, AllocatedTo: "shop/web-1-x/main,shop/web-2-x/main",
		Processes: new(uint32(1)), Allocated: new(uint32(2)),
		Gpu: &event.GpuDevice{Uuid: "GPU-1", Index: new(uint32(0)), Minor: new(uint32(3)), Name: "NVIDIA H200",
			PciAddress: "00000000:1B:00.0", Driver: "580.1"},
		Memory: &event.GpuMemory{TotalBytes: new(uint64(100 << 20)), UsedBytes: new(uint64(30 << 20)),
			ReservedBytes: new(uint64(10 << 20))},
		Activity: &event.GpuActivity{GpuPercent: new(uint32(40)), MemoryPercent: new(uint32(20)), SmPercent: half,
			OccupancyPercent: half, TensorPercent: half, DramPercent: half, Fp64Percent: half, Fp32Percent: half,
			Fp16Percent: half, PcieSentPerSecond: rate, PcieReceivedPerSecond: rate, NvlinkSentPerSecond: rate,
			NvlinkReceivedPerSecond: rate},
		Health: &event.GpuHealth{PowerMilliwatts: new(uint32(350_500)), PowerLimitMilliwatts: new(uint32(700_000)),
			TemperatureCelsius: new(uint32(60)), SmMhz: new(uint32(1980)), MemoryMhz: new(uint32(3201)),
			Throttle: "none", EccCorrected: new(uint64(1)), EccUncorrected: new(uint64(2)),
			RetiredPages: new(uint32(3)), RemappedRows: new(uint32(4))},
	}}}
}

func TestTable_DCGMCompat(t *testing.T) {
	k := newKit(t, Options{DCGMCompat: true})
	k.pods(true, workload(1))
	k.observe(&event.Event{Node: "n1", Kind: &event.Event_Gpu{Gpu: &event.Gpu{
		Type: event.GpuEventType_GPU_EVENT_TYPE_XID, Xid: new(uint32(79)), Gpu: &event.GpuDevice{Uuid: "GPU-1"}}}},
		device())
	got := k.scrape()
	const labels = "{DCGM_FI_DRIVER_VERSION=580.1,Hostname=n1,UUID=GPU-1,container=main,device=nvidia3,gpu=0," +
		"modelName=NVIDIA H200,namespace=shop,pci_bus_id=00000000:1B:00.0,pod=web-1-x}"
	var names []string
	for key := range got {
		if name, rest, _ := strings.Cut(key, "{"); strings.HasPrefix(name, "DCGM_") {
			names = append(names, name)
			if "{"+rest != labels {
				t.Errorf("%s has the labels %s", name, rest)
			}
		}
	}
	slices.Sort(names)
	if want := slices.Sorted(slices.Values(dcgmNames)); !slices.Equal(names, want) {
		t.Errorf("exposed %v, want %v", names, want)
	}
	for name, want := range map[string]float64{
		"DCGM_FI_DEV_FB_FREE": 60, "DCGM_FI_DEV_FB_USED": 30, "DCGM_FI_DEV_POWER_USAGE": 350.5,
		"DCGM_FI_DEV_GPU_UTIL": 40, "DCGM_FI_PROF_SM_ACTIVE": 0.5, "DCGM_FI_PROF_GR_ENGINE_ACTIVE": 0.4,
		"DCGM_FI_DEV_XID_ERRORS": 79, "DCGM_FI_DEV_SM_CLOCK": 1980, "DCGM_FI_PROF_PCIE_TX_BYTES": 1000,
	} {
		if v := got[name+labels]; v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
}

func TestTable_GPUs(t *testing.T) {
	k := newKit(t, Options{})
	k.pods(true, workload(1), workload(2))
	k.observe(device())
	got := k.scrape()
	const labels = "{gpu=0,model=NVIDIA H200,uuid=GPU-1}"
	for key, want := range map[string]float64{
		"orb8_gpu_utilization_ratio" + labels: 0.4, "orb8_gpu_sm_active_ratio" + labels: 0.5,
		"orb8_gpu_power_watts" + labels: 350.5, "orb8_gpu_sm_clock_hertz" + labels: 1980e6,
		"orb8_gpu_throttled" + labels: 0, "orb8_gpu_ecc_uncorrected_errors_total" + labels: 2,
		"orb8_gpu_held_idle" + labels: 0,
		"orb8_gpu_allocation_info{container=main,gpu=0,namespace=shop,pod=web-2-x,uuid=GPU-1,workload=deploy/web-2}": 1,
	} {
		if v, ok := got[key]; !ok || v != want {
			t.Errorf("%s is %v (%v), want %v", key, v, ok, want)
		}
	}
	for key := range got {
		if strings.HasPrefix(key, "DCGM_") {
			t.Errorf("%s is exposed without dcgmCompat", key)
		}
	}
}
