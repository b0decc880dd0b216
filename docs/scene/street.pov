// A street corner of our own making: brick, lettering, a fence, leaves, slates, cables, cobbles.
// Fine structure of many kinds in a small picture, which is what an upscaler is for.
// render.sh renders it; 0-clause: do with this file and its pictures what you like.
#version 3.7;
global_settings { assumed_gamma 1.0 max_trace_level 6 }
#include "colors.inc"

camera { location <1.2, 1.75, -7.6> look_at <0.55, 1.75, 0> angle 52 right x*image_width/image_height }
light_source { <-9, 12, -11> rgb <1.0, 0.93, 0.80>*1.25 area_light 1.2*x, 1.2*y, 4, 4 adaptive 1 jitter }
light_source { <14, 8, -14> rgb <0.35, 0.42, 0.55>*0.55 shadowless }
sky_sphere { pigment { gradient y color_map { [0 rgb <0.86,0.90,0.95>] [0.5 rgb <0.38,0.58,0.86>] } }
             pigment { wrinkles scale <0.5,0.16,0.5> color_map { [0 rgbt <1,1,1,1>] [0.55 rgbt <1,1,1,1>] [0.9 rgbt <1,1,1,0.25>] } } }

#declare Brick = pigment { brick pigment { rgb <0.62,0.58,0.52> }
    pigment { bozo scale <0.35,0.09,0.35> color_map { [0 rgb <0.50,0.17,0.10>] [0.5 rgb <0.62,0.25,0.15>] [1 rgb <0.40,0.13,0.09>] } }
    brick_size <0.24, 0.085, 0.14> mortar 0.014 };
#declare Wood = pigment { wood turbulence 0.06 scale 0.07 rotate <3, 88, 4>
    color_map { [0 rgb <0.34,0.20,0.10>] [1 rgb <0.20,0.11,0.05>] } };
#declare White = texture { pigment { rgb 0.86 } finish { diffuse 0.8 } };

// ground
plane { y, 0 pigment { crackle scale 0.16 color_map { [0 rgb 0.10] [0.07 rgb 0.16] [0.13 rgb 0.42] [1 rgb 0.55] } }
        normal { crackle 0.6 scale 0.16 } }
box { <-6, 0, -1.6>, <6, 0.09, 0.05> pigment { checker rgb <0.60,0.59,0.56> rgb <0.53,0.52,0.50> scale 0.31 } }

// the house
difference {
    box { <-3.6, 0, 0>, <1.9, 3.7, 3> }
    box { <-2.9, 1.1, -0.1>, <-1.7, 2.5, 0.25> }
    box { <0.55, 0.09, -0.1>, <1.45, 2.15, 0.25> }
    pigment { Brick translate 0.02*y }
    normal { brick 0.35 brick_size <0.24, 0.085, 0.14> mortar 0.014 translate 0.02*y }
}
// slates
#declare R = seed(4);
#declare J = 0;
#while (J < 13)
    #declare I = 0;
    #while (I < 31)
        box { <-0.092, 0, 0>, <0.092, 0.02, 0.30> rotate <-33, 0, (rand(R)-0.5)*2>
              translate <-3.75 + I*0.19 + mod(J, 2)*0.095, 3.68 + J*0.105, -0.30 + J*0.165>
              pigment { rgb <0.20, 0.23, 0.28>*(0.75 + 0.5*rand(R)) } finish { specular 0.25 } }
        #declare I = I + 1;
    #end
    #declare J = J + 1;
#end
// window: frame, bars, louvres
box { <-2.9, 1.1, 0.2>, <-1.7, 2.5, 0.22> pigment { rgb <0.06,0.09,0.13> } finish { reflection 0.35 specular 0.6 } }
#declare I = 0;
#while (I < 5) box { <-2.92 + I*0.3, 1.1, 0.1>, <-2.89 + I*0.3, 2.5, 0.19> texture { White } } #declare I = I + 1; #end
#declare I = 0;
#while (I < 6) box { <-2.9, 1.1 + I*0.277, 0.1>, <-1.7, 1.125 + I*0.277, 0.19> texture { White } } #declare I = I + 1; #end
#macro Shutter(X)
    #local K = 0;
    #while (K < 22)
        box { <X, 0, -0.02>, <X + 0.42, 0.05, 0> rotate 28*x translate <0, 1.12 + K*0.063, -0.03>
              pigment { rgb <0.10, 0.32, 0.26> } finish { specular 0.2 } }
        #local K = K + 1;
    #end
    box { <X - 0.02, 1.08, -0.05>, <X + 0.01, 2.53, 0> pigment { rgb <0.08,0.27,0.22> } }
    box { <X + 0.41, 1.08, -0.05>, <X + 0.44, 2.53, 0> pigment { rgb <0.08,0.27,0.22> } }
#end
Shutter(-3.38) Shutter(-1.66)
// door
box { <0.55, 0.09, 0.15>, <1.45, 2.15, 0.2> pigment { Wood } }
#declare I = 0;
#while (I < 6) box { <0.57 + I*0.147, 0.12, 0.12>, <0.695 + I*0.147, 2.1, 0.16> pigment { Wood translate I*3.7 } } #declare I = I + 1; #end
sphere { <1.33, 1.05, 0.08>, 0.045 pigment { rgb <0.85,0.65,0.25> } finish { metallic specular 0.9 reflection 0.3 } }

// the sign
box { <-1.05, 2.62, -0.09>, <1.75, 3.42, -0.01> pigment { rgb <0.05,0.12,0.22> } }
box { <-1.01, 2.66, -0.10>, <1.71, 3.38, -0.08> pigment { rgb <0.93,0.89,0.76> } }
#macro Line(T, S, X, Y, C) text { ttf "timrom.ttf" T 0.02, 0 scale <S, S, 1> translate <X, Y, -0.125> pigment { rgb C } } #end
Line("BOOKS & MAPS", 0.34, -0.92, 3.03, <0.05,0.12,0.22>)
Line("second-hand, bought and sold since 1887", 0.147, -0.93, 2.85, <0.45,0.08,0.06>)
Line("open Tuesday to Saturday 9:30-17:45  ring twice", 0.118, -0.93, 2.72, <0.1,0.1,0.1>)
// a notice on the door
box { <0.72, 1.32, 0.10>, <1.2, 1.86, 0.125> pigment { rgb 0.93 } }
#declare I = 0;
#while (I < 7) Line("gone to lunch, back soon", 0.043, 0.745, 1.78 - I*0.064, <0.1,0.1,0.15>) #declare I = I + 1; #end

// the fence and what grows behind it
union {
    #declare I = 0;
    #while (I < 24)
        cylinder { <2.05 + I*0.13, 0.1, -0.45>, <2.05 + I*0.13, 1.25, -0.45>, 0.015 }
        cone { <2.05 + I*0.13, 1.25, -0.45>, 0.03, <2.05 + I*0.13, 1.36, -0.45>, 0 }
        #declare I = I + 1;
    #end
    cylinder { <2, 0.28, -0.45>, <5.2, 0.28, -0.45>, 0.018 }
    cylinder { <2, 1.15, -0.45>, <5.2, 1.15, -0.45>, 0.018 }
    pigment { rgb 0.04 } finish { specular 0.5 }
}
cylinder { <3.25, 0, 0.6>, <3.15, 2.3, 0.6>, 0.10 pigment { rgb <0.25,0.18,0.12> } normal { bumps 0.8 scale <0.05,0.3,0.05> } }
#declare Leaf = sphere { 0, 1 scale <0.052, 0.016, 0.11> };
#declare I = 0;
#while (I < 3600)
    #declare A = 2*pi*rand(R); #declare B = acos(2*rand(R) - 1); #declare D = 1.25*pow(rand(R), 0.34);
    object { Leaf rotate <360*rand(R), 360*rand(R), 360*rand(R)>
             translate <3.2 + D*sin(B)*cos(A), 2.75 + 0.85*D*cos(B), 0.6 + D*sin(B)*sin(A)>
             pigment { rgb <0.10 + 0.22*rand(R), 0.32 + 0.28*rand(R), 0.07> } finish { specular 0.15 } }
    #declare I = I + 1;
#end
#declare I = 0;
#while (I < 1500)
    #declare X = 2.0 + 3.4*rand(R); #declare H = 0.25 + 0.5*rand(R);
    cone { <X, 0.05, -0.2 + 0.5*rand(R)>, 0.012, <X + 0.16*(rand(R)-0.5), H, -0.2 + 0.5*rand(R)>, 0
           pigment { rgb <0.16 + 0.2*rand(R), 0.40 + 0.2*rand(R), 0.10> } }
    #declare I = I + 1;
#end

// a bicycle wheel against the wall, and cables
#macro Wheel(P)
    torus { 0.40, 0.022 rotate 90*x translate P pigment { rgb 0.05 } }
    torus { 0.37, 0.010 rotate 90*x translate P pigment { rgb 0.75 } finish { metallic specular 0.8 } }
    #local K = 0;
    #while (K < 24) cylinder { 0, 0.37*y, 0.005 rotate K*15*z translate P pigment { rgb 0.80 } } #local K = K + 1; #end
#end
Wheel(<-1.45, 0.51, -0.35>) Wheel(<-0.35, 0.51, -0.35>)
#macro Tube(A, B) cylinder { A, B, 0.024 pigment { rgb <0.72,0.08,0.07> } finish { specular 0.6 } } #end
Tube(<-1.45,0.51,-0.35>, <-1.12,1.02,-0.35>) Tube(<-1.45,0.51,-0.35>, <-0.95,0.51,-0.35>)
Tube(<-0.95,0.51,-0.35>, <-1.12,1.02,-0.35>) Tube(<-0.95,0.51,-0.35>, <-0.52,1.02,-0.35>)
Tube(<-1.12,1.02,-0.35>, <-0.52,1.02,-0.35>) Tube(<-0.35,0.51,-0.35>, <-0.56,1.18,-0.35>)
box { <-1.26, 1.05, -0.40>, <-1.03, 1.10, -0.30> pigment { rgb 0.06 } }
cylinder { <-0.68, 1.18, -0.35>, <-0.47, 1.18, -0.35>, 0.014 pigment { rgb 0.7 } }
cylinder { <-6, 4.9, 1.2>, <7, 4.1, 0.4>, 0.012 pigment { rgb 0.05 } }
cylinder { <-6, 4.7, 1.2>, <7, 3.95, 0.4>, 0.012 pigment { rgb 0.05 } }
