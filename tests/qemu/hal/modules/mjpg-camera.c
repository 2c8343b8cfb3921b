// A camera that compresses its pictures: each has another length, and every third is damaged.

#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/workqueue.h>
#include <media/v4l2-device.h>
#include <media/v4l2-ioctl.h>
#include <media/videobuf2-v4l2.h>
#include <media/videobuf2-vmalloc.h>

#define SIZE_MAX_BYTES 65536
#define INTERVAL msecs_to_jiffies(50)

struct picture {
	struct vb2_v4l2_buffer buffer;
	struct list_head entry;
};

static struct platform_device *parent;
static struct v4l2_device device;
static struct video_device camera;
static struct vb2_queue queue;
static LIST_HEAD(waiting);
static DEFINE_MUTEX(lock);
static DEFINE_SPINLOCK(waiting_lock);
static struct delayed_work work;
static u32 sequence;

static int setup(struct vb2_queue *queue, unsigned int *buffers, unsigned int *planes, unsigned int sizes[],
		 struct device *devices[])
{
	if (*planes)
		return sizes[0] < SIZE_MAX_BYTES ? -EINVAL : 0;
	*planes = 1;
	sizes[0] = SIZE_MAX_BYTES;
	return 0;
}

static void take(struct vb2_buffer *buffer)
{
	struct picture *picture = container_of(to_vb2_v4l2_buffer(buffer), struct picture, buffer);

	spin_lock(&waiting_lock);
	list_add_tail(&picture->entry, &waiting);
	spin_unlock(&waiting_lock);
}

static struct picture *next(void)
{
	struct picture *picture;

	spin_lock(&waiting_lock);
	picture = list_first_entry_or_null(&waiting, struct picture, entry);
	if (picture)
		list_del(&picture->entry);
	spin_unlock(&waiting_lock);
	return picture;
}

// Not a picture that a program could show, but begun and ended like one, of 1,000 bytes and ten more each time.
static void expose(struct work_struct *unused)
{
	struct picture *picture = next();

	if (picture) {
		struct vb2_buffer *buffer = &picture->buffer.vb2_buf;
		u8 *bytes = vb2_plane_vaddr(buffer, 0);
		u32 length = 1000 + 10 * sequence % 50000;

		memset(bytes, sequence, length);
		bytes[0] = 0xff;
		bytes[1] = 0xd8;
		bytes[length - 2] = 0xff;
		bytes[length - 1] = 0xd9;
		vb2_set_plane_payload(buffer, 0, length);
		picture->buffer.sequence = sequence++;
		picture->buffer.field = V4L2_FIELD_NONE;
		vb2_buffer_done(buffer, sequence % 3 ? VB2_BUF_STATE_DONE : VB2_BUF_STATE_ERROR);
	}
	schedule_delayed_work(&work, INTERVAL);
}

static int start(struct vb2_queue *queue, unsigned int buffers)
{
	sequence = 0;
	schedule_delayed_work(&work, INTERVAL);
	return 0;
}

static void stop(struct vb2_queue *queue)
{
	struct picture *picture;

	cancel_delayed_work_sync(&work);
	while ((picture = next()))
		vb2_buffer_done(&picture->buffer.vb2_buf, VB2_BUF_STATE_ERROR);
}

static const struct vb2_ops queue_ops = {
	.queue_setup = setup,
	.buf_queue = take,
	.start_streaming = start,
	.stop_streaming = stop,
	.wait_prepare = vb2_ops_wait_prepare,
	.wait_finish = vb2_ops_wait_finish,
};

static int describe(struct file *file, void *handle, struct v4l2_capability *capability)
{
	strscpy(capability->driver, "mjpg-camera", sizeof(capability->driver));
	strscpy(capability->card, "mjpg-camera", sizeof(capability->card));
	strscpy(capability->bus_info, "platform:mjpg-camera", sizeof(capability->bus_info));
	return 0;
}

static int list_format(struct file *file, void *handle, struct v4l2_fmtdesc *format)
{
	if (format->index)
		return -EINVAL;
	format->pixelformat = V4L2_PIX_FMT_MJPEG;
	return 0;
}

// There is one format, whatever is asked for.
static int settle(struct file *file, void *handle, struct v4l2_format *format)
{
	struct v4l2_pix_format *pix = &format->fmt.pix;

	pix->width = 640;
	pix->height = 480;
	pix->pixelformat = V4L2_PIX_FMT_MJPEG;
	pix->field = V4L2_FIELD_NONE;
	pix->bytesperline = 0;
	pix->sizeimage = SIZE_MAX_BYTES;
	pix->colorspace = V4L2_COLORSPACE_JPEG;
	return 0;
}

static int list_input(struct file *file, void *handle, struct v4l2_input *input)
{
	if (input->index)
		return -EINVAL;
	input->type = V4L2_INPUT_TYPE_CAMERA;
	strscpy(input->name, "lens", sizeof(input->name));
	return 0;
}

static int get_input(struct file *file, void *handle, unsigned int *index)
{
	*index = 0;
	return 0;
}

static int set_input(struct file *file, void *handle, unsigned int index)
{
	return index ? -EINVAL : 0;
}

static const struct v4l2_ioctl_ops ioctls = {
	.vidioc_querycap = describe,
	.vidioc_enum_fmt_vid_cap = list_format,
	.vidioc_g_fmt_vid_cap = settle,
	.vidioc_s_fmt_vid_cap = settle,
	.vidioc_try_fmt_vid_cap = settle,
	.vidioc_enum_input = list_input,
	.vidioc_g_input = get_input,
	.vidioc_s_input = set_input,
	.vidioc_reqbufs = vb2_ioctl_reqbufs,
	.vidioc_querybuf = vb2_ioctl_querybuf,
	.vidioc_qbuf = vb2_ioctl_qbuf,
	.vidioc_dqbuf = vb2_ioctl_dqbuf,
	.vidioc_streamon = vb2_ioctl_streamon,
	.vidioc_streamoff = vb2_ioctl_streamoff,
};

static const struct v4l2_file_operations files = {
	.owner = THIS_MODULE,
	.open = v4l2_fh_open,
	.release = vb2_fop_release,
	.poll = vb2_fop_poll,
	.mmap = vb2_fop_mmap,
	.unlocked_ioctl = video_ioctl2,
};

static int __init camera_init(void)
{
	int failed;

	parent = platform_device_register_simple("mjpg-camera", -1, NULL, 0);
	if (IS_ERR(parent))
		return PTR_ERR(parent);
	INIT_DELAYED_WORK(&work, expose);
	strscpy(device.name, "mjpg-camera", sizeof(device.name));
	failed = v4l2_device_register(&parent->dev, &device);
	if (failed)
		goto no_device;

	queue.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
	queue.io_modes = VB2_MMAP;
	queue.buf_struct_size = sizeof(struct picture);
	queue.ops = &queue_ops;
	queue.mem_ops = &vb2_vmalloc_memops;
	queue.timestamp_flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
	queue.lock = &lock;
	failed = vb2_queue_init(&queue);
	if (failed)
		goto no_camera;

	strscpy(camera.name, "mjpg-camera", sizeof(camera.name));
	camera.v4l2_dev = &device;
	camera.fops = &files;
	camera.ioctl_ops = &ioctls;
	camera.queue = &queue;
	camera.lock = &lock;
	camera.release = video_device_release_empty;
	camera.device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
	failed = video_register_device(&camera, VFL_TYPE_VIDEO, -1);
	if (!failed)
		return 0;

no_camera:
	v4l2_device_unregister(&device);
no_device:
	platform_device_unregister(parent);
	return failed;
}

static void __exit camera_exit(void)
{
	vb2_video_unregister_device(&camera);
	v4l2_device_unregister(&device);
	platform_device_unregister(parent);
}

module_init(camera_init);
module_exit(camera_exit);
MODULE_DESCRIPTION("A camera that compresses its pictures");
MODULE_LICENSE("Dual MIT/GPL");
