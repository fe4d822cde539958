/*
 * In User-Mode Linux each reading of the clock is a system call of some 15 microseconds. QEMU reads it some 20 times
 * for each byte that comes over its monitor, and libvirt sends it 50,000 bytes at each start of a guest, which then
 * takes 11 s. Preloaded into QEMU, this gives the last answer again as long as it is younger than CYCLES_MAX of the
 * processor's own counter: 3 s. Each thread sees a clock that never goes back.
 */
struct timespec { long seconds; long nanoseconds; };
enum { REALTIME = 0, MONOTONIC = 1, CLOCK_GETTIME = 228 };
/* At 2 to 5 GHz 20 to 50 microseconds: less than a switch between two processes takes there. */
#define CYCLES_MAX 100000UL

extern int *__errno_location(void);

static unsigned long cycles(void)
{
    unsigned low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return ((unsigned long)high << 32) | low;
}

static long ask_kernel(long clock, struct timespec *time)
{
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"((long)CLOCK_GETTIME), "D"(clock), "S"(time)
                     : "rcx", "r11", "memory");
    return result;
}

static __thread struct { unsigned long at; struct timespec time; } last[2]
    __attribute__((tls_model("initial-exec")));

int clock_gettime(int clock, struct timespec *time)
{
    unsigned long now = cycles();
    int quick = clock == REALTIME || clock == MONOTONIC;
    long result;

    if (quick && last[clock].at != 0 && now - last[clock].at < CYCLES_MAX) {
        *time = last[clock].time;
        return 0;
    }
    result = ask_kernel(clock, time);
    if (result < 0) {
        *__errno_location() = (int)-result;
        return -1;
    }
    if (quick) {
        last[clock].at = now;
        last[clock].time = *time;
    }
    return 0;
}
