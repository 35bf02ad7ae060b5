# How a CPU comes into the program, and all that runs in ring 0. The rest of the program runs in ring 3: a nested KVM may
# emulate ring 0 instruction by instruction and not know what a compiler makes (SSE first of all), while ring 3 runs as it is.
# Nothing is protected from anything here: ring 3 may access all memory and all ports.

.set KERNEL_CODE, 0x08
.set KERNEL_DATA, 0x10
.set USER_DATA, 0x1b
.set USER_CODE, 0x23
.set FIRST_TSS, 0x28
.set APS, 15
.set AP_STACK, 0x4000
.set TIMER_VECTOR, 0x20
.set SPURIOUS_VECTOR, 0xff

# PVH: where the 32-bit entry is (XEN_ELFNOTE_PHYS32_ENTRY).
.section .note.pvh, "a", @note
.balign 4
.long 4, 4, 18
.asciz "Xen"
.long guest_start_32

.section .text.entry, "ax", @progbits

# PVH: protected mode without paging, ebx = start info.
.code32
guest_start_32:
    cli
    cld
    movl %ebx, start_address
    movl $1, start_protocol
    lgdt gdt_pointer
    movl $0x620, %eax               # PAE, OSFXSR, OSXMMEXCPT
    movl %eax, %cr4
    movl $page_root, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax                # long mode
    wrmsr
    movl $0x80000033, %eax          # paging, NE, ET, MP, PE; caches on
    movl %eax, %cr0
    ljmpl $KERNEL_CODE, $long_mode

# Linux' 64-bit protocol: long mode with paging, rsi = zero page. Our tables replace the loader's.
.code64
.globl guest_start_64
guest_start_64:
    cli
    cld
    movq %rsi, start_address(%rip)
    movl $2, start_protocol(%rip)
    movl $kernel_stack_top, %esp
    lgdt gdt_pointer(%rip)
    movl $0x620, %eax
    movq %rax, %cr4
    movl $page_root, %eax
    movq %rax, %cr3
    movl $0x80000033, %eax
    movq %rax, %cr0
    pushq $KERNEL_CODE
    movl $long_mode, %eax
    pushq %rax
    lretq

long_mode:
    movl $KERNEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movl $kernel_stack_top, %esp
    # The IDT: 256 interrupt gates to stubs of 16 bytes.
    movl $idt, %edi
    movl $vector_stubs, %ebx
    movl $256, %ecx
1:  movl %ebx, %eax
    movw %ax, (%rdi)
    movw $KERNEL_CODE, 2(%rdi)
    movw $0x8e00, 4(%rdi)
    shrl $16, %eax
    movw %ax, 6(%rdi)
    movq $0, 8(%rdi)
    addl $16, %edi
    addl $16, %ebx
    decl %ecx
    jnz 1b
    lidt idt_pointer(%rip)
    # The TSS: a stack for ring 0, and all ports open to ring 3.
    movl $kernel_stack_top, %eax
    movq %rax, tss+4(%rip)
    movw $104, tss+102(%rip)
    movb $0xff, tss+104+8192(%rip)
    movl $tss, %edi
    movl $104+8192, %esi
    movl $FIRST_TSS, %ecx
    call load_task_register
    fninit
    # What firmware left running may interrupt by the vectors of exceptions: both PICs are masked.
    movb $0xff, %al
    outb %al, $0x21
    outb %al, $0xa1
    # On to ring 3.
    pushq $USER_DATA
    pushq $user_stack_top
    pushq $0x202
    pushq $USER_CODE
    pushq $user_entry
    iretq

user_entry:
    xorl %ebp, %ebp
    movl start_protocol(%rip), %edi
    movq start_address(%rip), %rsi
    call guest_main
    ud2

# edi = TSS, esi = its limit, ecx = its selector: makes the descriptor and loads it.
load_task_register:
    leaq gdt(%rip), %rbx
    movw %si, (%rbx,%rcx)
    movw %di, 2(%rbx,%rcx)
    movl %edi, %eax
    shrl $16, %eax
    movb %al, 4(%rbx,%rcx)
    movb $0x89, 5(%rbx,%rcx)
    movb $0, 6(%rbx,%rcx)
    movb %ah, 7(%rbx,%rcx)
    movq $0, 8(%rbx,%rcx)
    ltr %cx
    ret

# Another CPU, by INIT and SIPI: real mode at the page that guest_smp copied this to (any page below 1 MiB).
.globl ap_begin, ap_end
.code16
ap_begin:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl ap_gdt_pointer - ap_begin
    movl $0x620, %eax
    movl %eax, %cr4
    movl $page_root, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl $0x80000033, %eax
    movl %eax, %cr0
    ljmpl $KERNEL_CODE, $ap_long_mode
.balign 8
ap_gdt_pointer:
    .word gdt_end - gdt - 1
    .long gdt
ap_end:

.code64
ap_long_mode:
    movl $KERNEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movl $1, %ebp
    lock xaddl %ebp, APS_STARTED(%rip)
    cmpl $APS, %ebp
    jae park
    lidt idt_pointer(%rip)
    # Two stacks of each: one for ring 3, one for interrupts.
    movl %ebp, %eax
    imull $AP_STACK, %eax
    leaq ap_stacks(%rip), %r8
    addq %rax, %r8
    leaq AP_STACK/2(%r8), %rsp
    leaq AP_STACK(%r8), %r9
    # Its TSS has no ports.
    movl %ebp, %eax
    imull $112, %eax
    leaq ap_tss(%rip), %rdi
    addq %rax, %rdi
    movq %rsp, 4(%rdi)
    movw $104, 102(%rdi)
    movl $103, %esi
    movl %ebp, %ecx
    shll $4, %ecx
    addl $FIRST_TSS+16, %ecx
    call load_task_register
    fninit
    pushq $USER_DATA
    pushq %r9
    pushq $0x202
    pushq $USER_CODE
    pushq $ap_user_entry
    iretq
ap_user_entry:
    movl %ebp, %edi
    xorl %ebp, %ebp
    call guest_ap_main
    ud2

park:
    cli
1:  hlt
    jmp 1b

# Ring 3 asks ring 0 for something: edi = what, rsi, rdx, rcx = with what; answer in rax. The only ud2 that is no fault.
# It is ud2 because int and syscall do not come through where ring 3 is all that runs natively.
.globl gate
gate:
    ud2
    ret

# Interrupts and exceptions. On the stack after the common part's pushes:
# 0 rdx, 8 rcx, 16 rbx, 24 rax, 32 vector, 40 error, 48 rip, 56 cs, 64 rflags, 72 rsp, 80 ss.
.balign 16
vector_stubs:
.set vector, 0
.rept 256
    .balign 16
    .if vector != 8 && (vector < 10 || vector > 14) && vector != 17 && vector != 21 && vector != 29 && vector != 30
    pushq $0
    .endif
    pushq $vector
    jmp vector_common
.set vector, vector + 1
.endr
    .balign 16

vector_common:
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    movl 32(%rsp), %eax
    cmpl $6, %eax
    jne 1f
    leaq gate(%rip), %rbx
    cmpq %rbx, 48(%rsp)
    je gate_entered
1:  cmpl $32, %eax
    jb report
    leaq INTERRUPTS(%rip), %rbx
    lock addl $1, (%rbx,%rax,4)
    cmpl $SPURIOUS_VECTOR, %eax
    je 3f
    # A level interrupt is masked until ring 3 has acknowledged it at the device.
    leaq ONE_SHOT_PINS(%rip), %rbx
    movzbl (%rbx,%rax), %ecx
    testl %ecx, %ecx
    jz 2f
    leal 0x0e(%rcx,%rcx), %ecx      # 0x10 + 2 * (pin + 1 - 1)
    movq IOAPIC_BASE(%rip), %rbx
    movl %ecx, (%rbx)
    movl 0x10(%rbx), %edx
    orl $0x10000, %edx
    movl %edx, 0x10(%rbx)
2:  movq LAPIC_BASE(%rip), %rbx
    movl $0, 0xb0(%rbx)
    # The timer counts the watchdog down, when it is set.
    cmpl $TIMER_VECTOR, %eax
    jne 3f
    cmpl $0, WATCHDOG(%rip)
    je 3f
    lock subl $1, WATCHDOG(%rip)
    jz report
3:  popq %rdx
    popq %rcx
    popq %rbx
    popq %rax
    addq $16, %rsp
    iretq

# What should not happen is told by ring 3, on a stack of its own; when it happens there too, the machine ends.
report:
    movl $1, %ecx
    xchgl %ecx, reported(%rip)
    testl %ecx, %ecx
    jnz triple
    movl %eax, %edi
    movq 40(%rsp), %rsi
    movq 48(%rsp), %rdx
    movq %cr2, %rcx
    movq 56(%rsp), %r8
    pushq $USER_DATA
    pushq $report_stack_top - 8
    pushq $0x002
    pushq $USER_CODE
    pushq $guest_report_fault
    iretq

gate_entered:
    # An exit between the exception and what follows: some KVM takes MMIO right after an exception for MMIO of its delivery.
    xorl %eax, %eax
    cpuid
    popq %rdx
    popq %rcx
    popq %rbx
    popq %rax
    addq $16, %rsp
    addq $2, (%rsp)
    cmpl $11, %edi
    ja 1f
    leaq gate_table(%rip), %rax
    jmpq *(%rax,%rdi,8)
1:  movq $-1, %rax
    iretq

# 0: sleeps until an interrupt, unless vector rsi has come since it had come rdx times.
gate_wait:
    leaq INTERRUPTS(%rip), %rcx
    movl (%rcx,%rsi,4), %eax
    cmpl %edx, %eax
    jne 1f
    sti
    hlt
    cli
    movl (%rcx,%rsi,4), %eax
1:  iretq

# 1: MSR rsi is read. 2: it is written with rdx.
gate_read_msr:
    movl %esi, %ecx
    rdmsr
    shlq $32, %rdx
    orq %rdx, %rax
    iretq
gate_write_msr:
    movl %esi, %ecx
    movl %edx, %eax
    shrq $32, %rdx
    wrmsr
    iretq

# 3: 32 bits at rsi are read rdx times. 4: port rsi is read rdx times. 5: cx is written to rsi rdx times.
gate_reads:
    movl (%rsi), %eax
    decq %rdx
    jnz gate_reads
    iretq
gate_ports:
    movq %rdx, %rcx
    movl %esi, %edx
1:  inb %dx, %al
    decq %rcx
    jnz 1b
    iretq
gate_bells:
    movw %cx, (%rsi)
    decq %rdx
    jnz gate_bells
    iretq

# 6: IOAPIC register rsi is read. 7: it is written with rdx. Here, because an interrupt would change the index between.
gate_read_ioapic:
    movq IOAPIC_BASE(%rip), %rcx
    movl %esi, (%rcx)
    movl 0x10(%rcx), %eax
    iretq
gate_write_ioapic:
    movq IOAPIC_BASE(%rip), %rcx
    movl %esi, (%rcx)
    movl %edx, 0x10(%rcx)
    iretq

# 8: a triple fault. 9: no instruction any more. 10: the same instruction for ever.
triple:
gate_triple:
    lidt no_idt_pointer(%rip)
    ud2
gate_halt:
    cli
1:  hlt
    jmp 1b
gate_spin:
    cli
1:  pause
    jmp 1b

# 11: sleeps for ever, but interrupts are taken.
gate_sleep:
    sti
1:  hlt
    jmp 1b

# What a compiler calls for memory.
.section .text.memory, "ax", @progbits
.globl memcpy, memmove, memset, memcmp, bcmp, strlen
memmove:
    movq %rdi, %rax
    subq %rsi, %rax
    cmpq %rdx, %rax
    jb 1f
memcpy:
    movq %rdi, %rax
    movq %rdx, %rcx
    rep movsb
    ret
1:  movq %rdi, %rax
    movq %rdx, %rcx
    leaq -1(%rdi,%rdx), %rdi
    leaq -1(%rsi,%rdx), %rsi
    std
    rep movsb
    cld
    ret
memset:
    movq %rdi, %r8
    movl %esi, %eax
    movq %rdx, %rcx
    rep stosb
    movq %r8, %rax
    ret
bcmp:
memcmp:
    xorl %eax, %eax
    testq %rdx, %rdx
    jz 2f
1:  movzbl (%rdi), %eax
    movzbl (%rsi), %ecx
    subl %ecx, %eax
    jnz 2f
    incq %rdi
    incq %rsi
    decq %rdx
    jnz 1b
2:  ret
strlen:
    xorl %eax, %eax
1:  cmpb $0, (%rdi,%rax)
    je 2f
    incq %rax
    jmp 1b
2:  ret

.section .data.entry, "aw", @progbits
.balign 16
gdt:
    .quad 0
    .quad 0x00af9b000000ffff        # ring 0 code, 64-bit
    .quad 0x00cf93000000ffff        # ring 0 data
    .quad 0x00cff3000000ffff        # ring 3 data
    .quad 0x00affb000000ffff        # ring 3 code, 64-bit
    .fill 2 * (1 + APS), 8, 0       # the TSS of each CPU
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt
.balign 8
idt_pointer:
    .word 4095
    .quad idt
no_idt_pointer:
    .word 0
    .quad 0
.balign 8
start_address:
    .quad 0
start_protocol:
    .long 0
reported:
    .long 0
.balign 8
gate_table:
    .quad gate_wait, gate_read_msr, gate_write_msr, gate_reads, gate_ports, gate_bells
    .quad gate_read_ioapic, gate_write_ioapic, gate_triple, gate_halt, gate_spin, gate_sleep

# The first 4 GiB as they are, in pages of 2 MiB (a nested KVM may not have those of 1 GiB); uncached from 3 GiB up.
.balign 4096
.globl page_root
page_root:
    .quad page_directories + 7
    .fill 511, 8, 0
page_directories:
    .quad page_tables + 0x0007, page_tables + 0x1007, page_tables + 0x2007, page_tables + 0x3007
    .fill 508, 8, 0
page_tables:
.set page, 0
.rept 1536
    .quad (page << 21) + 0x87
.set page, page + 1
.endr
.rept 512
    .quad (page << 21) + 0x9f
.set page, page + 1
.endr

.section .bss.entry, "aw", @nobits
.balign 4096
idt:
    .skip 4096
.balign 128
tss:
    .skip 104 + 8192 + 8
.balign 16
ap_tss:
    .skip 112 * APS
.balign 4096
    .skip 0x4000
kernel_stack_top:
    .skip 0x40000
user_stack_top:
    .skip 0x4000
report_stack_top:
ap_stacks:
    .skip AP_STACK * APS
