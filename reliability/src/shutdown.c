/* Shuts a file system down at once, as a loss of power would: nothing that waits is written.
   shutdown FOLDER */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define FS_IOC_SHUTDOWN _IOR('X', 125, uint32_t)
#define NOLOGFLUSH 2

int main(int argc, char **argv) {
    uint32_t flags = NOLOGFLUSH;
    int fd = argc > 1 ? open(argv[1], O_RDONLY | O_DIRECTORY) : -1;
    if (fd < 0 || ioctl(fd, FS_IOC_SHUTDOWN, &flags) != 0) {
        perror("shutdown");
        return 1;
    }
    close(fd);
    return 0;
}
