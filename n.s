stp	x29, x30, [sp, #-160]!
mov	x29, sp
stp	x19, x20, [sp, #16]
stp	x21, x22, [sp, #32]
stp	x23, x24, [sp, #48]
stp	x25, x26, [sp, #64]
stp	x27, x28, [sp, #80]
stp	d8, d9, [sp, #96]
stp	d10, d11, [sp, #112]
stp	d12, d13, [sp, #128]
stp	d14, d15, [sp, #144]
mov	x20, x5
add	x21, x5, x6, lsl #2
mov	x22, x6
lsl	x23, x6, #1
add	x24, x6, x6, lsl #1
mov	x26, #0x20
mov	x27, #0x60
mov	x19, #0x8
lsl	x28, x7, #1
add	x17, x24, x6, lsl #2
mov	x30, #0x70
ldp	q29, q30, [x4]
ldr	q31, [x4, #32]
mov	x8, #0x10
mov	x9, #0x20
mov	x10, #0x30
mov	x11, #0x40
mov	x12, #0x50
mov	x13, #0x60
mov	x14, #0x70
mov	x15, #0x80
mov	x16, x3
ldr	q23, [x2, xzr]
ldr	q24, [x2, x8]
ldr	q25, [x2, x9]
ldr	q14, [x0, xzr]
ldr	q15, [x0, x8]
ldr	q16, [x0, x9]
ldr	q17, [x0, x10]
ldr	q18, [x0, x11]
ldr	q19, [x0, x12]
ldr	q20, [x0, x13]
ldr	q21, [x0, x14]
ldr	q22, [x0, x15]
ldr	q0, [x16, xzr]
ldr	q1, [x16, xzr]
ldr	q2, [x16, xzr]
ldr	q3, [x16, xzr]
ldr	q4, [x16, xzr]
ldr	q5, [x16, xzr]
ldr	q6, [x16, xzr]
lsr	x1, x1, #2
lsl	x25, x1, #1
add	x3, x0, x25
add	x1, x1, x0
add	x5, x2, #0x30
add	x7, x2, #0x60
add	x0, x16, #0x10
add	x2, x16, #0x20
sdot	v0.4s, v14.16b, v23.16b
ldr	q14, [x1, xzr]
sdot	v1.4s, v15.16b, v23.16b
sdot	v2.4s, v16.16b, v23.16b
ldr	q26, [x16, x11]
sdot	v3.4s, v17.16b, v23.16b
sdot	v4.4s, v18.16b, v23.16b
sdot	v5.4s, v19.16b, v23.16b
sdot	v6.4s, v20.16b, v23.16b
ldr	q23, [x5, xzr]
sdot	v0.4s, v15.16b, v24.16b
ldr	q15, [x1, x8]
sdot	v1.4s, v16.16b, v24.16b
sdot	v2.4s, v17.16b, v24.16b
sdot	v3.4s, v18.16b, v24.16b
sdot	v4.4s, v19.16b, v24.16b
sdot	v5.4s, v20.16b, v24.16b
sdot	v6.4s, v21.16b, v24.16b
ldr	q24, [x5, x8]
sdot	v0.4s, v16.16b, v25.16b
ldr	q16, [x1, x9]
sdot	v1.4s, v17.16b, v25.16b
ldr	q17, [x1, x10]
sdot	v2.4s, v18.16b, v25.16b
ldr	q18, [x1, x11]
sdot	v3.4s, v19.16b, v25.16b
ldr	q19, [x1, x12]
sdot	v4.4s, v20.16b, v25.16b
ldr	q20, [x1, x13]
sdot	v5.4s, v21.16b, v25.16b
ldr	q21, [x1, x14]
sdot	v6.4s, v22.16b, v25.16b
ldr	q22, [x1, x15]
ldr	q25, [x5, x9]
scvtf	v0.4s, v0.4s
scvtf	v1.4s, v1.4s
scvtf	v2.4s, v2.4s
scvtf	v3.4s, v3.4s
scvtf	v4.4s, v4.4s
scvtf	v5.4s, v5.4s
scvtf	v6.4s, v6.4s
fmul	v0.4s, v0.4s, v26.4s
fmul	v1.4s, v1.4s, v26.4s
fmul	v2.4s, v2.4s, v26.4s
fmul	v3.4s, v3.4s, v26.4s
fmul	v4.4s, v4.4s, v26.4s
fmul	v5.4s, v5.4s, v26.4s
fmul	v6.4s, v6.4s, v26.4s
fcvtns	v0.4s, v0.4s
fcvtns	v1.4s, v1.4s
fcvtns	v2.4s, v2.4s
fcvtns	v3.4s, v3.4s
fcvtns	v4.4s, v4.4s
fcvtns	v5.4s, v5.4s
fcvtns	v6.4s, v6.4s
sqxtn	v7.4h, v0.4s
ldr	q0, [x0, xzr]
sqxtn	v8.4h, v1.4s
ldr	q1, [x0, xzr]
sqxtn	v9.4h, v2.4s
ldr	q2, [x0, xzr]
sqxtn	v10.4h, v3.4s
ldr	q3, [x0, xzr]
sqxtn	v11.4h, v4.4s
ldr	q4, [x0, xzr]
sqxtn	v12.4h, v5.4s
ldr	q5, [x0, xzr]
sqxtn	v13.4h, v6.4s
ldr	q6, [x0, xzr]
sdot	v0.4s, v14.16b, v23.16b
ldr	q14, [x3, xzr]
sdot	v1.4s, v15.16b, v23.16b
sdot	v2.4s, v16.16b, v23.16b
ldr	q26, [x0, x11]
sdot	v3.4s, v17.16b, v23.16b
sdot	v4.4s, v18.16b, v23.16b
sdot	v5.4s, v19.16b, v23.16b
sdot	v6.4s, v20.16b, v23.16b
ldr	q23, [x7, xzr]
sdot	v0.4s, v15.16b, v24.16b
ldr	q15, [x3, x8]
sdot	v1.4s, v16.16b, v24.16b
sdot	v2.4s, v17.16b, v24.16b
sdot	v3.4s, v18.16b, v24.16b
sdot	v4.4s, v19.16b, v24.16b
sdot	v5.4s, v20.16b, v24.16b
sdot	v6.4s, v21.16b, v24.16b
ldr	q24, [x7, x8]
sdot	v0.4s, v16.16b, v25.16b
ldr	q16, [x3, x9]
sdot	v1.4s, v17.16b, v25.16b
ldr	q17, [x3, x10]
sdot	v2.4s, v18.16b, v25.16b
ldr	q18, [x3, x11]
sdot	v3.4s, v19.16b, v25.16b
ldr	q19, [x3, x12]
sdot	v4.4s, v20.16b, v25.16b
ldr	q20, [x3, x13]
sdot	v5.4s, v21.16b, v25.16b
ldr	q21, [x3, x14]
sdot	v6.4s, v22.16b, v25.16b
ldr	q22, [x3, x15]
ldr	q25, [x7, x9]
scvtf	v0.4s, v0.4s
scvtf	v1.4s, v1.4s
scvtf	v2.4s, v2.4s
scvtf	v3.4s, v3.4s
scvtf	v4.4s, v4.4s
scvtf	v5.4s, v5.4s
scvtf	v6.4s, v6.4s
fmul	v0.4s, v0.4s, v26.4s
fmul	v1.4s, v1.4s, v26.4s
fmul	v2.4s, v2.4s, v26.4s
fmul	v3.4s, v3.4s, v26.4s
fmul	v4.4s, v4.4s, v26.4s
fmul	v5.4s, v5.4s, v26.4s
fmul	v6.4s, v6.4s, v26.4s
fcvtns	v0.4s, v0.4s
fcvtns	v1.4s, v1.4s
fcvtns	v2.4s, v2.4s
fcvtns	v3.4s, v3.4s
fcvtns	v4.4s, v4.4s
fcvtns	v5.4s, v5.4s
fcvtns	v6.4s, v6.4s
sqxtn2	v7.8h, v0.4s
ldr	q0, [x2, xzr]
sqxtn2	v8.8h, v1.4s
ldr	q1, [x2, xzr]
sqxtn2	v9.8h, v2.4s
ldr	q2, [x2, xzr]
sqxtn2	v10.8h, v3.4s
ldr	q3, [x2, xzr]
sqxtn2	v11.8h, v4.4s
ldr	q4, [x2, xzr]
sqxtn2	v12.8h, v5.4s
ldr	q5, [x2, xzr]
sqxtn2	v13.8h, v6.4s
ldr	q6, [x2, xzr]
sqadd	v7.8h, v7.8h, v29.8h
sqadd	v8.8h, v8.8h, v29.8h
sqadd	v9.8h, v9.8h, v29.8h
sqadd	v10.8h, v10.8h, v29.8h
sqadd	v11.8h, v11.8h, v29.8h
sqadd	v12.8h, v12.8h, v29.8h
sqadd	v13.8h, v13.8h, v29.8h
smax	v7.8h, v7.8h, v30.8h
add	x1, x1, x25
smax	v8.8h, v8.8h, v30.8h
add	x5, x5, x27
smax	v9.8h, v9.8h, v30.8h
add	x16, x16, x26
smax	v10.8h, v10.8h, v30.8h
add	x0, x0, x26
smax	v11.8h, v11.8h, v30.8h
sub	x25, x30, x25
smax	v12.8h, v12.8h, v30.8h
neg	x26, x26
smax	v13.8h, v13.8h, v30.8h
neg	x27, x27
smin	v7.8h, v7.8h, v31.8h
subs	x28, x28, #0x1
smin	v8.8h, v8.8h, v31.8h
add	x3, x3, x25
smin	v9.8h, v9.8h, v31.8h
add	x7, x7, x27
smin	v10.8h, v10.8h, v31.8h
add	x2, x2, x26
smin	v11.8h, v11.8h, v31.8h
smin	v12.8h, v12.8h, v31.8h
smin	v13.8h, v13.8h, v31.8h
sqxtn	v7.8b, v7.8h
sqxtn	v8.8b, v8.8h
sqxtn	v9.8b, v9.8h
sqxtn	v10.8b, v10.8h
sqxtn	v11.8b, v11.8h
str	d7, [x20, xzr]
sqxtn	v12.8b, v12.8h
str	d8, [x20, x22]
sqxtn	v13.8b, v13.8h
str	d9, [x20, x23]
str	d10, [x20, x24]
str	d11, [x21, xzr]
str	d12, [x21, x22]
str	d13, [x21, x23]
add	x20, x20, x19
add	x21, x21, x19
sub	x19, x17, x19
b.ne .L
sdot	v0.4s, v14.16b, v23.16b
ldr	q14, [x1, xzr]
sdot	v1.4s, v15.16b, v23.16b
sdot	v2.4s, v16.16b, v23.16b
ldr	q26, [x16, x11]
sdot	v3.4s, v17.16b, v23.16b
sdot	v4.4s, v18.16b, v23.16b
sdot	v5.4s, v19.16b, v23.16b
sdot	v6.4s, v20.16b, v23.16b
ldr	q23, [x5, xzr]
sdot	v0.4s, v15.16b, v24.16b
ldr	q15, [x1, x8]
sdot	v1.4s, v16.16b, v24.16b
sdot	v2.4s, v17.16b, v24.16b
sdot	v3.4s, v18.16b, v24.16b
sdot	v4.4s, v19.16b, v24.16b
sdot	v5.4s, v20.16b, v24.16b
sdot	v6.4s, v21.16b, v24.16b
ldr	q24, [x5, x8]
sdot	v0.4s, v16.16b, v25.16b
ldr	q16, [x1, x9]
sdot	v1.4s, v17.16b, v25.16b
ldr	q17, [x1, x10]
sdot	v2.4s, v18.16b, v25.16b
ldr	q18, [x1, x11]
sdot	v3.4s, v19.16b, v25.16b
ldr	q19, [x1, x12]
sdot	v4.4s, v20.16b, v25.16b
ldr	q20, [x1, x13]
sdot	v5.4s, v21.16b, v25.16b
ldr	q21, [x1, x14]
sdot	v6.4s, v22.16b, v25.16b
ldr	q22, [x1, x15]
ldr	q25, [x5, x9]
scvtf	v0.4s, v0.4s
scvtf	v1.4s, v1.4s
scvtf	v2.4s, v2.4s
scvtf	v3.4s, v3.4s
scvtf	v4.4s, v4.4s
scvtf	v5.4s, v5.4s
scvtf	v6.4s, v6.4s
fmul	v0.4s, v0.4s, v26.4s
fmul	v1.4s, v1.4s, v26.4s
fmul	v2.4s, v2.4s, v26.4s
fmul	v3.4s, v3.4s, v26.4s
fmul	v4.4s, v4.4s, v26.4s
fmul	v5.4s, v5.4s, v26.4s
fmul	v6.4s, v6.4s, v26.4s
fcvtns	v0.4s, v0.4s
fcvtns	v1.4s, v1.4s
fcvtns	v2.4s, v2.4s
fcvtns	v3.4s, v3.4s
fcvtns	v4.4s, v4.4s
fcvtns	v5.4s, v5.4s
fcvtns	v6.4s, v6.4s
sqxtn	v7.4h, v0.4s
ldr	q0, [x0, xzr]
sqxtn	v8.4h, v1.4s
ldr	q1, [x0, xzr]
sqxtn	v9.4h, v2.4s
ldr	q2, [x0, xzr]
sqxtn	v10.4h, v3.4s
ldr	q3, [x0, xzr]
sqxtn	v11.4h, v4.4s
ldr	q4, [x0, xzr]
sqxtn	v12.4h, v5.4s
ldr	q5, [x0, xzr]
sqxtn	v13.4h, v6.4s
ldr	q6, [x0, xzr]
sdot	v0.4s, v14.16b, v23.16b
ldr	q14, [x3, xzr]
sdot	v1.4s, v15.16b, v23.16b
sdot	v2.4s, v16.16b, v23.16b
ldr	q26, [x0, x11]
sdot	v3.4s, v17.16b, v23.16b
sdot	v4.4s, v18.16b, v23.16b
sdot	v5.4s, v19.16b, v23.16b
sdot	v6.4s, v20.16b, v23.16b
ldr	q23, [x7, xzr]
sdot	v0.4s, v15.16b, v24.16b
ldr	q15, [x3, x8]
sdot	v1.4s, v16.16b, v24.16b
sdot	v2.4s, v17.16b, v24.16b
sdot	v3.4s, v18.16b, v24.16b
sdot	v4.4s, v19.16b, v24.16b
sdot	v5.4s, v20.16b, v24.16b
sdot	v6.4s, v21.16b, v24.16b
ldr	q24, [x7, x8]
sdot	v0.4s, v16.16b, v25.16b
ldr	q16, [x3, x9]
sdot	v1.4s, v17.16b, v25.16b
ldr	q17, [x3, x10]
sdot	v2.4s, v18.16b, v25.16b
ldr	q18, [x3, x11]
sdot	v3.4s, v19.16b, v25.16b
ldr	q19, [x3, x12]
sdot	v4.4s, v20.16b, v25.16b
ldr	q20, [x3, x13]
sdot	v5.4s, v21.16b, v25.16b
ldr	q21, [x3, x14]
sdot	v6.4s, v22.16b, v25.16b
ldr	q22, [x3, x15]
ldr	q25, [x7, x9]
scvtf	v0.4s, v0.4s
scvtf	v1.4s, v1.4s
scvtf	v2.4s, v2.4s
scvtf	v3.4s, v3.4s
scvtf	v4.4s, v4.4s
scvtf	v5.4s, v5.4s
scvtf	v6.4s, v6.4s
fmul	v0.4s, v0.4s, v26.4s
fmul	v1.4s, v1.4s, v26.4s
fmul	v2.4s, v2.4s, v26.4s
fmul	v3.4s, v3.4s, v26.4s
fmul	v4.4s, v4.4s, v26.4s
fmul	v5.4s, v5.4s, v26.4s
fmul	v6.4s, v6.4s, v26.4s
fcvtns	v0.4s, v0.4s
fcvtns	v1.4s, v1.4s
fcvtns	v2.4s, v2.4s
fcvtns	v3.4s, v3.4s
fcvtns	v4.4s, v4.4s
fcvtns	v5.4s, v5.4s
fcvtns	v6.4s, v6.4s
sqxtn2	v7.8h, v0.4s
ldr	q0, [x2, xzr]
sqxtn2	v8.8h, v1.4s
ldr	q1, [x2, xzr]
sqxtn2	v9.8h, v2.4s
ldr	q2, [x2, xzr]
sqxtn2	v10.8h, v3.4s
ldr	q3, [x2, xzr]
sqxtn2	v11.8h, v4.4s
ldr	q4, [x2, xzr]
sqxtn2	v12.8h, v5.4s
ldr	q5, [x2, xzr]
sqxtn2	v13.8h, v6.4s
ldr	q6, [x2, xzr]
sqadd	v7.8h, v7.8h, v29.8h
sqadd	v8.8h, v8.8h, v29.8h
sqadd	v9.8h, v9.8h, v29.8h
sqadd	v10.8h, v10.8h, v29.8h
sqadd	v11.8h, v11.8h, v29.8h
sqadd	v12.8h, v12.8h, v29.8h
sqadd	v13.8h, v13.8h, v29.8h
smax	v7.8h, v7.8h, v30.8h
add	x1, x1, x25
smax	v8.8h, v8.8h, v30.8h
add	x5, x5, x27
smax	v9.8h, v9.8h, v30.8h
add	x16, x16, x26
smax	v10.8h, v10.8h, v30.8h
add	x0, x0, x26
smax	v11.8h, v11.8h, v30.8h
sub	x25, x30, x25
smax	v12.8h, v12.8h, v30.8h
neg	x26, x26
smax	v13.8h, v13.8h, v30.8h
neg	x27, x27
smin	v7.8h, v7.8h, v31.8h
subs	x28, x28, #0x1
smin	v8.8h, v8.8h, v31.8h
add	x3, x3, x25
smin	v9.8h, v9.8h, v31.8h
add	x7, x7, x27
smin	v10.8h, v10.8h, v31.8h
add	x2, x2, x26
smin	v11.8h, v11.8h, v31.8h
smin	v12.8h, v12.8h, v31.8h
smin	v13.8h, v13.8h, v31.8h
sqxtn	v7.8b, v7.8h
sqxtn	v8.8b, v8.8h
sqxtn	v9.8b, v9.8h
sqxtn	v10.8b, v10.8h
sqxtn	v11.8b, v11.8h
str	d7, [x20, xzr]
sqxtn	v12.8b, v12.8h
str	d8, [x20, x22]
sqxtn	v13.8b, v13.8h
str	d9, [x20, x23]
str	d10, [x20, x24]
str	d11, [x21, xzr]
str	d12, [x21, x22]
str	d13, [x21, x23]
add	x20, x20, x19
add	x21, x21, x19
sub	x19, x17, x19
b.ne .L
ldp	x19, x20, [sp, #16]
ldp	x21, x22, [sp, #32]
ldp	x23, x24, [sp, #48]
ldp	x25, x26, [sp, #64]
ldp	x27, x28, [sp, #80]
ldp	d8, d9, [sp, #96]
ldp	d10, d11, [sp, #112]
ldp	d12, d13, [sp, #128]
ldp	d14, d15, [sp, #144]
ldp	x29, x30, [sp], #160
