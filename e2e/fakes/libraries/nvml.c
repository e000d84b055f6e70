// SPDX-License-Identifier: Apache-2.0
//
// A fake of NVIDIA's management library, libnvidia-ml.so.1: the real names and structures (nvml.h), and no GPU. A
// script sets the values that the functions return.
//
// The script is appended to the library's own file, since a confined process can open no other file of the node. It
// begins at SCRIPT_OFFSET with a header of its sequence number, length and checksum. "@NAME" begins the section of a
// node; $ORB8_NODE_NAME selects it, "node" if empty. The library reads the script when the header changes. A line is a
// key and its value; a function whose key has no line returns NVML_ERROR_NOT_SUPPORTED. Special values: "!N", return
// code N; "hang", the call never returns; "crash", the process gets SIGSEGV.
//
//	devices 2                     driver 580.1
//	0.uuid GPU-1                  0.memory TOTAL USED RESERVED
//	0.util 97 40                  0.gpm.2 45.5                   by nvmlGpmMetricId_t
//	0.compute PID:BYTES ...       0.utilization PID:SM:MEMORY ...
//	0.mig 3                       3 MIG devices: 0.0.uuid, 0.0.instance GI CI, 0.0.placement START, ...
//	xid SEQUENCE INDEX NUMBER     reported once for each increase of SEQUENCE
//	quiet 1                       no xid will follow
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NVML_NO_UNVERSIONED_FUNC_DEFS
#include "nvml.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char *script;
static char seen[64];

// The length of the script's header, "SEQUENCE LENGTH SUM\n" padded with spaces.
#define HEADER 64
#define SCRIPT_OFFSET (1 << 20)
#define SCRIPT_MAX (1 << 18)

// Opens the library's own file, by the path that the loader used.
static int own_file(void)
{
	static int fd = -1;
	Dl_info info;

	if (fd < 0 && dladdr((void *)own_file, &info))
		fd = open(info.dli_fname, O_RDONLY | O_CLOEXEC);
	return fd;
}

// Copies this node's section of the script. Each line begins after a newline.
static char *section(char *all)
{
	char wanted[PATH_MAX];
	const char *node = getenv("ORB8_NODE_NAME");

	snprintf(wanted, sizeof(wanted), "\n@%s\n", node && *node ? node : "node");
	char *at = strstr(all, wanted);
	if (!at)
		return strdup("\n");
	at += strlen(wanted) - 1;
	char *end = strstr(at, "\n@");
	return end ? strndup(at, end - at + 1) : strdup(at);
}

// Reads the script if its header has changed. The caller holds the mutex. While a test writes a script, its checksum
// does not match, and the previous script stays in force.
static void update_script(void)
{
	char header[HEADER] = { 0 };
	unsigned long sequence, length, sum = 0, want;

	if (pread(own_file(), header, HEADER - 1, SCRIPT_OFFSET) <= 0 || !memcmp(header, seen, HEADER))
		return;
	if (sscanf(header, "%lu %lu %lu", &sequence, &length, &want) != 3 || length > SCRIPT_MAX)
		return;
	char *all = calloc(1, length + 2);
	all[0] = '\n';
	if (pread(own_file(), all + 1, length, SCRIPT_OFFSET + HEADER) == (ssize_t)length) {
		for (size_t i = 0; i < length; i++)
			sum = (sum * 31 + (unsigned char)all[i + 1]) & 0xffffffff;
		if (sum == want) {
			free(script);
			script = section(all);
			memcpy(seen, header, HEADER);
		}
	}
	free(all);
}

// Copies the value of a key.
static nvmlReturn_t value(const char *key, char *out, size_t size)
{
	char wanted[128];
	nvmlReturn_t ret = NVML_ERROR_NOT_SUPPORTED;

	out[0] = 0;
	snprintf(wanted, sizeof(wanted), "\n%s ", key);
	pthread_mutex_lock(&mutex);
	update_script();
	char *at = script ? strstr(script, wanted) : NULL;
	if (at) {
		at += strlen(wanted);
		size_t n = strcspn(at, "\n");
		snprintf(out, size, "%.*s", (int)n, at);
		ret = NVML_SUCCESS;
	}
	pthread_mutex_unlock(&mutex);
	if (!strcmp(out, "hang"))
		for (;;)
			pause();
	if (!strcmp(out, "crash"))
		raise(SIGSEGV);
	if (out[0] == '!')
		return atoi(out + 1);
	return ret;
}

// A handle encodes the number of the device and of its MIG device. It is a pointer in NVIDIA's own nvml.h, and a
// structure with one pointer in go-nvml's, which the ABI passes the same way.
#define POINTER(handle) (*(uintptr_t *)&(handle))
#define GPU_OF(d) ((int)((POINTER(d) - 0x10000) / 0x100))
#define MIG_OF(d) ((int)(POINTER(d) & 0xff)) // 0: the whole GPU

static nvmlDevice_t handle(int gpu, int mig)
{
	nvmlDevice_t d;
	POINTER(d) = 0x10000 + gpu * 0x100 + mig;
	return d;
}

static nvmlReturn_t of(nvmlDevice_t device, const char *what, char *out, size_t size)
{
	char key[64];

	if (MIG_OF(device))
		snprintf(key, sizeof(key), "%d.%d.%s", GPU_OF(device), MIG_OF(device) - 1, what);
	else
		snprintf(key, sizeof(key), "%d.%s", GPU_OF(device), what);
	return value(key, out, size);
}

// Declares v, the value of a device's key, and returns from the function if there is none.
#define VALUE(device, what)                                \
	char v[4096];                                      \
	nvmlReturn_t ret = of(device, what, v, sizeof(v)); \
	if (ret != NVML_SUCCESS) {                         \
		return ret;                                \
	}

static nvmlReturn_t number(nvmlDevice_t device, const char *what, unsigned int *n)
{
	VALUE(device, what);
	*n = strtoul(v, NULL, 0);
	return NVML_SUCCESS;
}

static nvmlReturn_t text(nvmlDevice_t device, const char *what, char *to, unsigned int size)
{
	VALUE(device, what);
	if (strlen(v) >= size)
		return NVML_ERROR_INSUFFICIENT_SIZE;
	strcpy(to, v);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlInit_v2(void)
{
	char v[64];
	nvmlReturn_t ret = value("init", v, sizeof(v));
	return ret == NVML_ERROR_NOT_SUPPORTED ? NVML_SUCCESS : ret;
}

nvmlReturn_t nvmlShutdown(void)
{
	return NVML_SUCCESS;
}

const char *nvmlErrorString(nvmlReturn_t r)
{
	return "an error of the fake";
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
	char v[64];
	nvmlReturn_t ret = value("driver", v, sizeof(v));
	if (ret == NVML_SUCCESS)
		snprintf(version, length, "%s", v);
	return ret;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count)
{
	char v[64];
	nvmlReturn_t ret = value("devices", v, sizeof(v));
	*count = ret == NVML_SUCCESS ? atoi(v) : 0;
	return ret == NVML_ERROR_NOT_SUPPORTED ? NVML_SUCCESS : ret;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device)
{
	char v[64];
	*device = handle(index, 0);
	nvmlReturn_t ret = of(*device, "handle", v, sizeof(v));
	return ret == NVML_ERROR_NOT_SUPPORTED ? NVML_SUCCESS : ret;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t d, char *uuid, unsigned int length)
{
	return text(d, "uuid", uuid, length);
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t d, char *name, unsigned int length)
{
	return text(d, "name", name, length);
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t d, unsigned int *index)
{
	*index = GPU_OF(d);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t d, unsigned int *minor)
{
	return number(d, "minor", minor);
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t d, nvmlPciInfo_t *pci)
{
	memset(pci, 0, sizeof(*pci));
	return text(d, "pci", pci->busId, sizeof(pci->busId));
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t d, unsigned int *current, unsigned int *pending)
{
	unsigned int n;
	nvmlReturn_t ret = number(d, "mig", &n);
	if (ret == NVML_SUCCESS)
		*current = *pending = NVML_DEVICE_MIG_ENABLE;
	return ret;
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t d, unsigned int *count)
{
	return number(d, "mig", count);
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t d, unsigned int index, nvmlDevice_t *mig)
{
	char v[64];
	*mig = handle(GPU_OF(d), index + 1);
	return of(*mig, "uuid", v, sizeof(v)) == NVML_SUCCESS ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}

static nvmlReturn_t instance(nvmlDevice_t d, unsigned int *gi, unsigned int *ci)
{
	unsigned int ignored;
	VALUE(d, "instance");
	return sscanf(v, "%u %u", gi ? gi : &ignored, ci ? ci : &ignored) == 2 ? NVML_SUCCESS : NVML_ERROR_UNKNOWN;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t d, unsigned int *id)
{
	return instance(d, id, NULL);
}

nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t d, unsigned int *id)
{
	return instance(d, NULL, id);
}

// The handle of a GPU instance is that of its first MIG device.
nvmlReturn_t nvmlDeviceGetGpuInstanceById(nvmlDevice_t d, unsigned int id, nvmlGpuInstance_t *gi)
{
	unsigned int count = 0, found;

	number(d, "mig", &count);
	for (unsigned int i = 0; i < count; i++) {
		nvmlDevice_t mig = handle(GPU_OF(d), i + 1);
		if (instance(mig, &found, NULL) == NVML_SUCCESS && found == id) {
			POINTER(*gi) = POINTER(mig);
			return NVML_SUCCESS;
		}
	}
	return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlGpuInstanceGetInfo(nvmlGpuInstance_t gi, nvmlGpuInstanceInfo_t *info)
{
	nvmlDevice_t mig;

	POINTER(mig) = POINTER(gi);
	memset(info, 0, sizeof(*info));
	return number(mig, "placement", &info->placement.start);
}

static nvmlReturn_t memory(nvmlDevice_t d, unsigned long long *total, unsigned long long *used,
			   unsigned long long *reserved)
{
	VALUE(d, "memory");
	return sscanf(v, "%llu %llu %llu", total, used, reserved) == 3 ? NVML_SUCCESS : NVML_ERROR_UNKNOWN;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t d, nvmlMemory_t *m)
{
	unsigned long long reserved;
	return memory(d, &m->total, &m->used, &reserved);
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t d, unsigned int *n)
{
	return number(d, "power", n);
}

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t d, unsigned int *n)
{
	return number(d, "limit", n);
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t d, nvmlTemperatureSensors_t s, unsigned int *n)
{
	return number(d, "temperature", n);
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t d, nvmlClockType_t t, unsigned int *n)
{
	return number(d, t == NVML_CLOCK_SM ? "clock.sm" : "clock.memory", n);
}

nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t d, nvmlClockType_t t, unsigned int *n)
{
	return number(d, t == NVML_CLOCK_SM ? "clock.max" : "clock.memory.max", n);
}

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t d, unsigned long long *mask)
{
	VALUE(d, "throttle");
	*mask = strtoull(v, NULL, 0);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t d, nvmlMemoryErrorType_t t, nvmlEccCounterType_t c,
					 unsigned long long *n)
{
	VALUE(d, t == NVML_MEMORY_ERROR_TYPE_CORRECTED ? "ecc.corrected" : "ecc.uncorrected");
	*n = strtoull(v, NULL, 0);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t d, unsigned int *corrected, unsigned int *uncorrected,
				       unsigned int *pending, unsigned int *failed)
{
	*uncorrected = *pending = *failed = 0;
	return number(d, "remapped", corrected);
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t d, nvmlUtilization_t *u)
{
	VALUE(d, "util");
	return sscanf(v, "%u %u", &u->gpu, &u->memory) == 2 ? NVML_SUCCESS : NVML_ERROR_UNKNOWN;
}

static nvmlReturn_t running(nvmlDevice_t d, const char *what, unsigned int *count, nvmlProcessInfo_t *infos)
{
	unsigned int n = 0, room = *count;
	char *save = NULL;
	VALUE(d, what);
	for (char *word = strtok_r(v, " ", &save); word; word = strtok_r(NULL, " ", &save), n++) {
		if (n >= room)
			continue;
		memset(&infos[n], 0, sizeof(infos[n]));
		infos[n].pid = strtoul(word, &word, 10);
		infos[n].usedGpuMemory = *word == ':' ? strtoull(word + 1, NULL, 10) : ULLONG_MAX;
		infos[n].gpuInstanceId = infos[n].computeInstanceId = UINT_MAX;
	}
	*count = n;
	return n > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t d, unsigned int *count, nvmlProcessInfo_t *infos)
{
	return running(d, "compute", count, infos);
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t d, unsigned int *count, nvmlProcessInfo_t *infos)
{
	return running(d, "graphics", count, infos);
}

static unsigned long long micros(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t d, nvmlProcessUtilizationSample_t *samples,
					     unsigned int *count, unsigned long long since)
{
	unsigned int n = 0, room = *count;
	char *save = NULL;
	VALUE(d, "utilization");
	for (char *word = strtok_r(v, " ", &save); word; word = strtok_r(NULL, " ", &save), n++) {
		if (!samples || n >= room)
			continue;
		memset(&samples[n], 0, sizeof(samples[n]));
		if (sscanf(word, "%u:%u:%u", &samples[n].pid, &samples[n].smUtil, &samples[n].memUtil) != 3)
			return NVML_ERROR_UNKNOWN;
		samples[n].timeStamp = micros();
	}
	*count = n;
	if (!n)
		return NVML_ERROR_NOT_FOUND;
	return !samples || n > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

// The SEQUENCE of the last "xid" line that was reported.
static long reported = -1;

nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set)
{
	POINTER(*set) = (uintptr_t)&reported;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set)
{
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t d, unsigned long long types, nvmlEventSet_t set)
{
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned int timeout)
{
	char v[64];

	// One sleep, as in a driver: where CPU time is measured, reading the script each 20 ms would be most of it.
	if (value("quiet", v, sizeof(v)) == NVML_SUCCESS) {
		usleep(timeout * 1000);
		return NVML_ERROR_TIMEOUT;
	}
	for (unsigned int waited = 0; waited < timeout; waited += 20) {
		long sequence, index;
		unsigned long long xid;

		if (value("xid", v, sizeof(v)) == NVML_SUCCESS &&
		    sscanf(v, "%ld %ld %llu", &sequence, &index, &xid) == 3 && sequence > reported) {
			reported = sequence;
			memset(data, 0, sizeof(*data));
			data->device = handle(index, 0);
			data->eventType = nvmlEventTypeXidCriticalError;
			data->eventData = xid;
			data->gpuInstanceId = data->computeInstanceId = UINT_MAX;
			return NVML_SUCCESS;
		}
		usleep(20000);
	}
	return NVML_ERROR_TIMEOUT;
}

// Functions that drivers before about 520 lack.
#ifndef OLD_DRIVER
nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t d, nvmlMemory_v2_t *m)
{
	nvmlReturn_t ret = memory(d, &m->total, &m->used, &m->reserved);
	m->free = m->total - m->used - m->reserved;
	return ret;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t d, unsigned long long *mask)
{
	return nvmlDeviceGetCurrentClocksThrottleReasons(d, mask);
}

nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses_v3(nvmlDevice_t d, unsigned int *count, nvmlProcessInfo_t *infos)
{
	return running(d, "mps", count, infos);
}

nvmlReturn_t nvmlDeviceGetRetiredPages(nvmlDevice_t d, nvmlPageRetirementCause_t cause, unsigned int *count,
				       unsigned long long *addresses)
{
	unsigned int n, room = *count;
	nvmlReturn_t ret = number(
		d, cause == NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR ? "retired.double" : "retired.single", &n);
	if (ret != NVML_SUCCESS)
		return ret;
	*count = n;
	if (n > room)
		return NVML_ERROR_INSUFFICIENT_SIZE;
	for (unsigned int i = 0; i < n; i++)
		addresses[i] = i << 12;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t d, int count, nvmlFieldValue_t *values)
{
	for (int i = 0; i < count; i++) {
		char v[64], key[32];
		snprintf(key, sizeof(key), "field.%u", values[i].fieldId);
		values[i].nvmlReturn = of(d, key, v, sizeof(v));
		values[i].valueType = NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
		values[i].value.ullVal = strtoull(v, NULL, 0);
	}
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpmQueryDeviceSupport(nvmlDevice_t d, nvmlGpmSupport_t *support)
{
	char v[64];
	nvmlReturn_t ret = of(d, "gpm", v, sizeof(v));
	support->isSupportedDevice = ret == NVML_SUCCESS;
	return ret == NVML_ERROR_NOT_SUPPORTED ? NVML_SUCCESS : ret;
}

nvmlReturn_t nvmlGpmSampleAlloc(nvmlGpmSample_t *sample)
{
	POINTER(*sample) = (uintptr_t)calloc(1, sizeof(nvmlDevice_t));
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpmSampleFree(nvmlGpmSample_t sample)
{
	free((void *)POINTER(sample));
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpmSampleGet(nvmlDevice_t d, nvmlGpmSample_t sample)
{
	*(nvmlDevice_t *)POINTER(sample) = d;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpmMigSampleGet(nvmlDevice_t d, unsigned int gpuInstance, nvmlGpmSample_t sample)
{
	for (int mig = 1; mig <= 8; mig++) {
		unsigned int id;
		if (nvmlDeviceGetGpuInstanceId(handle(GPU_OF(d), mig), &id) == NVML_SUCCESS && id == gpuInstance) {
			*(nvmlDevice_t *)POINTER(sample) = handle(GPU_OF(d), mig);
			return NVML_SUCCESS;
		}
	}
	return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlGpmMetricsGet(nvmlGpmMetricsGet_t *get)
{
	for (unsigned int i = 0; i < get->numMetrics; i++) {
		char v[64], key[32];
		snprintf(key, sizeof(key), "gpm.%u", get->metrics[i].metricId);
		get->metrics[i].nvmlReturn = of(*(nvmlDevice_t *)POINTER(get->sample2), key, v, sizeof(v));
		get->metrics[i].value = strtod(v, NULL);
	}
	return NVML_SUCCESS;
}
#endif
